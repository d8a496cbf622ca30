"""Who waits for a connection waits while others come back, and no longer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from psycopg_pool import ConnectionPool, PoolTimeout

from config.pooling import Patience

BRIEF_S = 0.3


@pytest.fixture
def pool(transactional_db: None) -> Iterator[ConnectionPool[Any]]:
    """One connection, to the database of the tests."""
    parameters = {**connection.get_connection_params(), "autocommit": True}
    with ConnectionPool(kwargs=parameters, min_size=0, max_size=1, open=False) as made:
        Patience(made, brief=BRIEF_S, longest=5.0)
        made.open()
        yield made


def test_a_busy_pool_serves_one_after_the_other(pool: ConnectionPool[Any]) -> None:
    def work(_: int) -> float:
        began = time.monotonic()
        held = pool.getconn()
        waited = time.monotonic() - began
        held.execute("SELECT pg_sleep(0.2)")
        pool.putconn(held)
        return waited

    with ThreadPoolExecutor(6) as threads:
        waited = sorted(threads.map(work, range(6)))
    assert waited[-1] > 2 * BRIEF_S  # the last waited for longer than nothing may come back


def test_when_nothing_comes_back_it_is_said_soon(pool: ConnectionPool[Any]) -> None:
    held = pool.getconn()
    began = time.monotonic()
    with pytest.raises(PoolTimeout):
        pool.getconn()
    assert BRIEF_S <= time.monotonic() - began < 2.0
    pool.putconn(held)
    pool.putconn(pool.getconn())


def test_a_broken_connection_is_no_sign_of_life(pool: ConnectionPool[Any]) -> None:
    with ThreadPoolExecutor(1) as threads:
        held = pool.getconn()
        began = time.monotonic()
        waiting = threads.submit(pool.getconn)
        held.close()
        pool.kwargs = {**connection.get_connection_params(), "host": "127.0.0.1", "port": "1"}  # the server is away
        pool.putconn(held)
        with pytest.raises(PoolTimeout):
            waiting.result()
    assert time.monotonic() - began < 2.0
