"""Secrets at rest: what is sealed here can be read by whoever has ``ENCRYPTION_KEYS``, and by nobody who has only the database.

Fernet (AES-128-CBC with an HMAC, from ``cryptography``). The first key seals, all of them open: to change keys, put a new one in
front, restart, run ``manage.py rotate_model_keys`` and then take the old one away.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from realtime.errors import Unavailable


class SealBroken(Unavailable):
    code = "key_unreadable"


def seal(text: str) -> str:
    """Sealed; "" stays ""."""
    return _fernet().encrypt(text.encode()).decode() if text else ""


def unseal(sealed: str) -> str:
    """Raises ``SealBroken`` when none of the keys opens it."""
    if not sealed:
        return ""
    try:
        return _fernet().decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise SealBroken("a stored key cannot be read with ENCRYPTION_KEYS") from error


def reseal(sealed: str) -> str:
    """The same secret under the first key. Raises ``SealBroken``."""
    if not sealed:
        return ""
    try:
        return _fernet().rotate(sealed.encode()).decode()
    except InvalidToken as error:
        raise SealBroken("a stored key cannot be read with ENCRYPTION_KEYS") from error


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(_key(secret)) for secret in settings.ENCRYPTION_KEYS])


def _key(secret: str) -> bytes:
    """Any long random text is a key: hashed to the 32 bytes that Fernet takes. Not for passwords, which need a slow hash."""
    return base64.urlsafe_b64encode(hashlib.sha256(b"quorum.vault\x00" + secret.encode()).digest())
