"""A deployment: every process is asked to end and started again while clients are at work, and none of them notices."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from accounts.models import User
from accounts.services import create_api_key
from council.models import CouncilSession, LlmCall, Turn
from tests.chaos.test_durability import assert_whole, until
from tests.support.clients import PATIENCE_S, Client
from tests.support.stack import LiveStack

pytestmark = [
    pytest.mark.usefixtures("fake"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.chaos,
    pytest.mark.xdist_group("live"),
]


def held_through(stack: LiveStack, user: User, count: int, restarts: Sequence[str]) -> list[Client]:
    """Clients that hold councils while these processes are restarted, each when its predecessor has ended; they have finished."""
    key, ending = create_api_key(user, "rolling")[1], threading.Event()
    clients = [Client(stack.url, key, ending) for _ in range(count)]
    for client in clients:
        client.start()
    for name in restarts:
        until(lambda: Turn.objects.filter(status="running").exists(), 60, "a council at work")
        stack.stop_worker(name)
        stack.start_worker(name)
    ending.set()
    for client in clients:
        client.join(2 * PATIENCE_S)
        assert not client.is_alive()
    return clients


def assert_nobody_noticed(clients: Sequence[Client], web_restarts: int) -> None:
    assert [fault for client in clients for fault in client.faults] == []
    sessions = [session for client in clients for session in client.sessions]
    assert CouncilSession.objects.count() == len(sessions)  # a POST that was sent again made nothing twice
    for session in CouncilSession.objects.all():
        assert_whole(session)
    assert not Turn.objects.filter(status__in=["pending", "running", "failed"]).exists()
    assert not LlmCall.objects.filter(status__in=["running", "lost"]).exists()
    closes = sum((client.closes for client in clients), Counter[int]())
    assert closes.keys() <= {1012}
    assert closes[1012] >= web_restarts
    assert sum(client.resumed for client in clients) >= web_restarts


def test_the_web_server_and_a_worker_are_restarted_under_load(user: User, tmp_path: Path) -> None:
    with LiveStack(tmp_path, only=["web", "turns", "control"]) as stack:
        clients = held_through(stack, user, 2, ["web", "turns"])
    assert_nobody_noticed(clients, web_restarts=1)


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_everything_is_restarted_twice_under_load(user: User, tmp_path: Path) -> None:
    with LiveStack(tmp_path) as stack:
        clients = held_through(stack, user, 6, ["web", "turns", "control", "index", "beat"] * 2)
    assert_nobody_noticed(clients, web_restarts=2)
