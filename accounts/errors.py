"""Errors of the API ground. Like ``realtime.errors`` they know no HTTP; ``config.api`` maps them.

QuorumError
├── PreconditionFailed     If-Match names a version that is not the current one
├── RateLimited            too many requests; carries the quota
├── Unavailable
│   └── LimiterDown        the counter of attempts does not answer, and this limit may not be skipped
├── IdempotencyMismatch    the key was used before with another request
└── Conflict
    └── IdempotencyBusy    the first request with this key is still running, or was overtaken
"""

from __future__ import annotations

from realtime.errors import Conflict, QuorumError, Unavailable


class PreconditionFailed(QuorumError):
    code = "precondition_failed"


class RateLimited(QuorumError):
    """``limit`` requests per ``period`` seconds are allowed under ``policy``; the next one in ``retry_after`` seconds."""

    code = "rate_limited"

    def __init__(self, policy: str, limit: int, period: int, retry_after: int) -> None:
        super().__init__(f"At most {limit} requests in {period} s are allowed. Try again in {retry_after} s.")
        self.policy = policy
        self.limit = limit
        self.period = period
        self.retry_after = retry_after


class LimiterDown(Unavailable):
    code = "limiter_unavailable"
    retry_after = 5


class IdempotencyMismatch(QuorumError):
    code = "idempotency_key_reused"


class IdempotencyBusy(Conflict):
    code = "idempotency_key_in_use"
    retry_after = 5
