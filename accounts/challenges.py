"""Proof of work: what a sign-in from an unknown device costs while somebody guesses at the account.

Nobody is locked out by it, nothing is asked of a third party and no mail has to be configured. A challenge is the hash of its own
parts under our secret, so nothing is stored until it is answered, and an answer is good once (Valkey). The answer to
``CHALLENGE`` with b bits is ``CHALLENGE.N`` with a number N such that SHA-256 of that text begins with b zero bits: 2^b hashes on
average (Back 2002, "Hashcash", section 3).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from typing import Final

import redis
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.errors import LimiterDown
from realtime import nudge

BITS: Final = 15  # a third of a second in a browser on a telephone
MAX_BITS: Final = 20  # ten seconds there; beyond that people would be locked out after all
GOOD_FOR_S: Final = 300
_SALT: Final = "quorum.sign-in.challenge"
_ANSWER: Final = re.compile(r"(([0-9]{1,2})\.([0-9]{1,12})\.[A-Za-z0-9_-]{16}\.[0-9a-f]{64})\.[0-9]{1,15}")


def issue(subject: str, bits: int) -> str:
    """A challenge for sign-ins to one account: ``bits.time.random.signature``."""
    unsigned = f"{min(bits, MAX_BITS)}.{int(time.time())}.{secrets.token_urlsafe(12)}"
    return f"{unsigned}.{_signature(unsigned, subject)}"


def redeem(subject: str, answer: str, bits: int) -> bool:
    """Whether this is an answer, not used before, to a challenge of at least ``bits`` for this subject. Raises ``LimiterDown``."""
    found = _ANSWER.fullmatch(answer)
    if found is None:
        return False
    challenge, given_bits, issued = found[1], int(found[2]), int(found[3])
    unsigned, _, signature = challenge.rpartition(".")
    fresh = 0 <= time.time() - issued <= GOOD_FOR_S
    enough = given_bits >= min(bits, MAX_BITS) and zero_bits(answer) >= given_bits
    if not (fresh and enough and constant_time_compare(signature, _signature(unsigned, subject))):
        return False
    return _first_use(challenge)


def zero_bits(text: str) -> int:
    """How many zero bits the SHA-256 of the text begins with."""
    return 256 - int.from_bytes(hashlib.sha256(text.encode()).digest(), "big").bit_length()


def _signature(unsigned: str, subject: str) -> str:
    return salted_hmac(_SALT, f"{unsigned}|{subject}", algorithm="sha256").hexdigest()


def _first_use(challenge: str) -> bool:
    key = f"quorum:challenge:{hashlib.sha256(challenge.encode()).hexdigest()}"
    try:
        return bool(nudge.client().set(key, 1, ex=GOOD_FOR_S + 1, nx=True))
    except redis.RedisError as error:
        raise LimiterDown("Attempts cannot be counted at the moment. Try again in a few seconds.") from error
