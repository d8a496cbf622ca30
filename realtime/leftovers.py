"""What processes that died, or a broker that was restored, leave in Valkey.

Every key of ours has a time to live, so nothing here grows for ever by itself; but a process can die between writing a key and
setting its time, and a copy that was loaded can have lost it. Keys are read with ``SCAN``, a page at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from realtime import limits, nudge, presence, tickets
from realtime.cleaning import Cleaning

PAGE: Final = 500
NEVER: Final = -1  # what Valkey says of the time to live of a key that has none

Keys = Sequence[bytes]


def keys(prefix: str, count: Callable[[Keys], int], clean: Callable[[Keys], int]) -> Cleaning:
    """Of the keys that begin with ``prefix``, page by page. A key may come twice, and both must be harmless. Raise
    ``redis.RedisError``."""
    return Cleaning(lambda: sum(count(page) for page in _pages(prefix)), lambda: (clean(p) for p in _pages(prefix)))


def eternal(page: Keys) -> list[bytes]:
    """Those without a time to live."""
    with nudge.client().pipeline(transaction=False) as pipe:
        for key in page:
            pipe.ttl(key)
        left = pipe.execute()
    return [key for key, seconds in zip(page, left, strict=True) if seconds == NEVER]


def delete(page: Keys) -> int:
    found: Any = nudge.client().delete(*page) if page else 0
    return int(found)


def _pages(prefix: str) -> Iterator[Keys]:
    cursor = 0
    while True:
        answer: Any = nudge.client().scan(cursor, match=f"{prefix}*", count=PAGE)
        cursor, page = answer
        if page:
            yield page
        if not cursor:
            return


def _dead(page: Keys) -> int:
    """Watchers whose process has not said for a while that they are there."""
    now = time.time()
    with nudge.client().pipeline(transaction=False) as pipe:
        for key in page:
            pipe.zcount(key, "-inf", now)
        return sum(pipe.execute())


def _bury(page: Keys) -> int:
    now, ending = time.time(), int(limits.PRESENCE_TTL_S) + 1
    with nudge.client().pipeline(transaction=False) as pipe:
        for key in page:
            pipe.zremrangebyscore(key, "-inf", now)
            pipe.expire(key, ending, nx=True)
        return sum(pipe.execute()[::2])


TICKETS = keys(tickets.KEY, lambda page: len(eternal(page)), lambda page: delete(eternal(page)))
PRESENCE = keys(presence.KEY, _dead, _bury)
