"""Database connections of the web process: whatever a request comes to, the pool has them all back."""

from __future__ import annotations

import gc
import random
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client

from accounts.models import User
from tests.realtime.live import LiveServer, wait_for
from tests.support.councils import Convene

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """It would give back some of what is forgotten, some time."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def in_use() -> int:
    stats = connection.pool.get_stats()  # type: ignore[attr-defined]  # PostgreSQL's
    return int(stats["pool_size"]) - int(stats["pool_available"])


def ask(server: LiveServer, path: str, cookie: str, patience: float | None) -> None:
    """Read the answer to its end, or hang up after so many seconds."""
    where = urlsplit(server.url)
    head = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((str(where.hostname), int(where.port or 0)), timeout=10) as browser:
        browser.sendall(head.encode())
        if patience is None:
            while browser.recv(65536):
                pass
        else:
            time.sleep(patience)


@pytest.mark.parametrize("patience", [None, 0.015], ids=["who reads", "who hangs up"])
@pytest.mark.parametrize(
    "path", ["/nowhere", "/api/nowhere", "/", "/admin/", "/councils/{}", "/api/council-sessions/{}"]
)
def test_a_request_costs_no_connection(
    server: LiveServer, user: User, convene: Convene, client: Client, path: str, patience: float | None
) -> None:
    path = path.format(convene().pk)
    client.force_login(user)
    [(name, morsel)] = client.cookies.items()
    before, dice = in_use(), random.Random(path)
    for _ in range(15):
        ask(server, path, f"{name}={morsel.value}", patience and dice.uniform(0, 2 * patience))
    wait_for(lambda: in_use() == before)
