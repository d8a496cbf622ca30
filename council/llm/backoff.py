"""How long to wait before asking again.

Full jitter: uniform over [0, min(cap, base * 2^(attempt-1))], from M. Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015; it spreads a herd of seats that failed together over the whole interval.
"""

from __future__ import annotations

import random

from council.llm.errors import LlmError

BASE_S = 0.5
CAP_S = 20.0
RETRY_AFTER_CAP_S = 60.0  # a server may ask for an hour; a council cannot wait for it


def backoff(attempt: int, error: LlmError, rng: random.Random) -> float:
    """Seconds to wait after failed ``attempt`` (from 1). A server's Retry-After is the least, plus jitter of at most
    BASE_S so that everyone it turned away does not come back in the same instant. Bounded by RETRY_AFTER_CAP_S +
    BASE_S.
    """
    if error.retry_after is not None:
        return min(error.retry_after, RETRY_AFTER_CAP_S) + rng.uniform(0, BASE_S)
    return rng.uniform(0, min(CAP_S, BASE_S * 2 ** min(attempt - 1, 16)))
