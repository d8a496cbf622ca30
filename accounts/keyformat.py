"""How a key is written: ``qk_``, 43 random base62 characters (255 bits), and the CRC-32 of all that in six more.

The checksum is no secret and no signature. It tells a mistyped or cut-off key from a live one without a query, and lets scanners of
source code report ``qk_[0-9A-Za-z]{49}`` without false alarms (the idea is GitHub's). CRC-32 notices every change within 32
consecutive bits, so every change of one character. Cutting six characters off would leave what looks like a key of the old format,
32 bytes in URL-safe base64: its last character carried four bits only, and stands at a place where no new key has such a one.
"""

from __future__ import annotations

import re
import secrets
import string
import zlib
from typing import Final

PREFIX: Final = "qk_"
BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM, _CHECK = 43, 6  # characters
LENGTH: Final = len(PREFIX) + _RANDOM + _CHECK
_OLD_ENDS = "AEIMQUYcgkosw048"
_NEW_ENDS = "".join(sorted(set(BASE62) - set(_OLD_ENDS)))
_OLD = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{42}}[{_OLD_ENDS}]")
_NEW = re.compile(rf"{PREFIX}[0-9A-Za-z]{{42}}[{_NEW_ENDS}][0-9A-Za-z]{{{_CHECK}}}")


def generate() -> str:
    body = "".join(secrets.choice(BASE62) for _ in range(_RANDOM - 1)) + secrets.choice(_NEW_ENDS)
    return PREFIX + body + checksum(PREFIX + body)


def is_well_formed(key: str) -> bool:
    """Whether this may be a key that was given out: one of today's with its checksum, or one of those made before, which had none."""
    if _NEW.fullmatch(key):
        return key[-_CHECK:] == checksum(key[:-_CHECK])
    return _OLD.fullmatch(key) is not None


def checksum(text: str) -> str:
    """The CRC-32 (ISO 3309) in base62, padded with zeros: 62 to the sixth is more than two to the 32nd."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECK):
        number, digit = divmod(number, len(BASE62))
        digits = BASE62[digit] + digits
    return digits
