"""Errors of the API ground. Like ``realtime.errors`` they know no HTTP; ``config.api`` maps them.

QuorumError
├── PreconditionFailed     If-Match names a version that is not the current one
├── RateLimited            too many requests; carries the quota
├── ChallengeRequired      somebody guesses at this account: an attempt from an unknown device costs a proof of work
├── Unavailable
│   └── LimiterDown        the counter of attempts does not answer, and this limit may not be skipped
├── Forbidden
│   └── InsufficientScope  the API key may not do this; says which scope would
├── IdempotencyMismatch    the key was used before with another request
├── IllegalState
│   ├── KeyEnded           the API key has expired or was revoked
│   └── KeyRotating        its old secret still works from the last rotation
└── Conflict
    └── IdempotencyBusy    the first request with this key is still running, or was overtaken
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from realtime.errors import Conflict, Forbidden, IllegalState, QuorumError, Unavailable


class PreconditionFailed(QuorumError):
    code = "precondition_failed"


class RateLimited(QuorumError):
    """``limit`` requests per ``period`` seconds are allowed under ``policy``; the next one in ``retry_after`` seconds."""

    code = "rate_limited"

    def __init__(self, policy: str, limit: int, period: int, retry_after: int, count: int = 0) -> None:
        super().__init__(f"At most {limit} requests in {period} s are allowed. Try again in {retry_after} s.")
        self.policy = policy
        self.limit = limit
        self.period = period
        self.retry_after = retry_after
        self.count = count  # requests in this period, with those that were turned away


class ChallengeRequired(QuorumError):
    """``challenge`` is what has to be answered; see ``accounts.challenges``."""

    code = "challenge_required"

    def __init__(self, challenge: str) -> None:
        super().__init__(
            "There were many attempts on this account. Your device has to do a little work before it may try; then try again."
        )
        self.challenge = challenge


class LimiterDown(Unavailable):
    code = "limiter_unavailable"
    retry_after = 5


class IdempotencyMismatch(QuorumError):
    code = "idempotency_key_reused"


class IdempotencyBusy(Conflict):
    code = "idempotency_key_in_use"
    retry_after = 5


class InsufficientScope(Forbidden):
    """``needed``: all that the request needs, ``held``: what the key has. The challenge is RFC 6750's (section 3.1)."""

    code = "insufficient_scope"

    def __init__(self, needed: Collection[str], held: Collection[str]) -> None:
        missing = sorted(set(needed) - set(held))
        super().__init__(f"The API key lacks the scope {' and '.join(missing)}.")
        self.auth_header = f'Bearer error="insufficient_scope", scope="{" ".join(sorted(needed))}"'


class KeyEnded(IllegalState):
    code = "key_ended"


class KeyRotating(IllegalState):
    code = "key_rotating"

    def __init__(self, until: datetime) -> None:
        super().__init__(
            f"The old secret of the last rotation works until {until:%Y-%m-%dT%H:%M:%SZ}. A rotation with overlap 0 ends it now."
        )
