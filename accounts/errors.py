"""Errors of the API ground. Like ``realtime.errors`` they know no HTTP; ``config.api`` maps them.

QuorumError
├── PreconditionFailed     If-Match names a version that is not the current one
├── RateLimited            too many requests; carries the quota
├── ChallengeRequired      somebody guesses at this account: an attempt from an unknown device costs a proof of work
├── Unavailable
│   └── LimiterDown        the counter of attempts does not answer, and this limit may not be skipped
├── Forbidden
│   ├── InsufficientScope  the API key may not do this; says which scope would
│   ├── NotProved          who asks for this has not shown just now that they are who they are
│   └── QuotaExceeded      the person's plan allows no more of it
├── IdempotencyMismatch    the key was used before with another request
├── IllegalState
│   ├── LastSuperuser      nobody could give out rights any more
│   ├── KeyEnded           the API key has expired or was revoked
│   └── KeyRotating        its old secret still works from the last rotation
└── Conflict
    └── IdempotencyBusy    the first request with this key is still running, or was overtaken
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal

from realtime.errors import Conflict, Forbidden, IllegalState, QuorumError, Unavailable
from realtime.times import rfc3339


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


class NotProved(Forbidden):
    code = "reauthentication_required"


class QuotaExceeded(Forbidden):
    """``limit`` is one of ``quotas.LIMITS``; ``used`` is what stands without that which was refused. ``frees_at``: when a day or a month
    is over, None where something has to go or to end first."""

    code = "quota_exceeded"

    def __init__(self, limit: str, used: Decimal, allowed: Decimal, frees_at: datetime | None) -> None:
        until = f" There is room again at {rfc3339(frees_at)}." if frees_at else ""
        super().__init__(f"Your plan allows {_plain(allowed)} of {limit}, and {_plain(used)} are used.{until}")
        self.limit = limit
        self.members = {
            "quota": {
                "limit": limit,
                "used": _plain(used),
                "allowed": _plain(allowed),
                "frees_at": rfc3339(frees_at) if frees_at else None,
            }
        }


def _plain(amount: Decimal) -> str:
    """Without the noughts that a column adds, and never as 1E+3."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class LastSuperuser(IllegalState):
    code = "last_superuser"


class KeyEnded(IllegalState):
    code = "key_ended"


class KeyRotating(IllegalState):
    code = "key_rotating"

    def __init__(self, until: datetime) -> None:
        super().__init__(
            f"The old secret of the last rotation works until {until:%Y-%m-%dT%H:%M:%SZ}. A rotation with overlap 0 ends it now."
        )
