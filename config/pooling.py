"""How long a request waits for a connection: as long as others come back, and briefly when none does.

psycopg's pool has one time-out for both. A server whose database is away or frozen is to say so within ``DATABASE_WAIT_S``; one that is
asked two hundred things at the same moment is to answer them one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolTimeout

DATABASE_WAIT_S = 1.5  # with what a request does besides, it is answered within 2 s
BUSY_WAIT_S = 20.0


class Patience:
    """Stands before a pool's ``getconn`` and ``putconn``. ``brief``: how long nothing may come back; ``longest``: the wait in all."""

    def __init__(self, pool: ConnectionPool[Any], brief: float = DATABASE_WAIT_S, longest: float = BUSY_WAIT_S) -> None:
        self._take: Callable[[float], Connection[Any]] = pool.getconn
        self._give: Callable[[Connection[Any]], None] = pool.putconn
        self._brief = brief
        self._longest = longest
        self._returned = 0  # sound connections; a count that threads race for need only move
        self._in_vain = False  # whether the last who waited got none, and nothing has come back since
        pool.getconn = self.getconn  # type: ignore[method-assign]  # Django makes the pool, of this class alone
        pool.putconn = self.putconn  # type: ignore[method-assign]

    def getconn(self, timeout: float | None = None) -> Connection[Any]:
        """Raises ``PoolTimeout``."""
        deadline = time.monotonic() + (self._longest if timeout is None else timeout)
        while True:
            seen, left = self._returned, deadline - time.monotonic()
            brief = self._brief / 10 if self._in_vain else self._brief  # a queue of those who wait in vain is soon over
            try:
                taken = self._take(min(brief, max(left, 0.0)))
            except PoolTimeout:
                if self._returned == seen or time.monotonic() >= deadline:
                    self._in_vain = True
                    raise
            else:
                self._in_vain = False
                return taken

    def putconn(self, conn: Connection[Any]) -> None:
        if not conn.closed:
            self._returned += 1
            self._in_vain = False
        self._give(conn)
