"""Errors of the API ground. Like ``realtime.errors`` they know no HTTP; ``config.api`` maps them.

QuorumError
├── PreconditionFailed     If-Match names a version that is not the current one
├── RateLimited            too many requests; carries the quota
├── ChallengeRequired      somebody guesses at this account: an attempt from an unknown device costs a proof of work
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
