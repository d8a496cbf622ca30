"""Councils in tests: a real database, a fake model server over real HTTP, and a worker that is this very process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from accounts.models import User
from council import runner, services
from council.deliberation.types import TurnKind
from council.models import CouncilSession, Turn
from council.recount import recount
from tests.support.fake_openai import FakeModelServer


@pytest.fixture(scope="session")
def fake_server() -> Iterator[FakeModelServer]:
    with FakeModelServer() as server:
        yield server


@pytest.fixture
def fake(fake_server: FakeModelServer, settings: LazySettings) -> FakeModelServer:
    """The default model of the process under test; forgets what earlier tests did."""
    fake_server.reset()
    settings.LLM_BASE_URL, settings.LLM_MODEL = fake_server.url, "fake"
    return fake_server


DISAGREEING = ("fake-option-1", "fake-option-2", "fake-option-3", "fake")

Convene = Callable[..., CouncilSession]


@pytest.fixture
def convene(user: User, fake: FakeModelServer) -> Convene:
    """A draft of three voters and a chair; ``models`` names one model per seat in order."""

    def make(models: tuple[str, ...] = DISAGREEING, **plan: Any) -> CouncilSession:
        *voters, chair = models
        agents: list[Any] = [{"name": f"Seat {index}", "model": model} for index, model in enumerate(voters, 1)]
        agents.append({"name": "Chair", "model": chair, "chair": True})
        settings = {"question": "Tabs or spaces?", "options": ["Tabs", "Spaces", "Both"], "agents": agents, **plan}
        return services.create_session(user, services.Plan(**settings))

    return make


def pending(session: CouncilSession) -> list[Turn]:
    """What is due for workers; what waits for people does not concern them."""
    return list(Turn.objects.filter(session=session, status="pending", human=False, not_before__lte=timezone.now()))


def work(session: CouncilSession, *, limit: int = 60) -> CouncilSession:
    """Run what is due as workers would, the seats of a stage together, until nothing is."""
    for _ in range(limit):
        turns = pending(session)
        if not turns:
            break
        with ThreadPoolExecutor(1) as worker:
            worker.submit(run, session, turns).result()
    session.refresh_from_db()
    return session


def run(session: CouncilSession, turns: list[Turn]) -> None:
    """As a worker's thread: one attempt of each, and the connection given back."""
    try:
        for turn in turns:
            if turn.kind == TurnKind.TALLY:
                runner.run_tally(session.pk, turn.pk, "test")
        runner.run_turns(session.pk, [turn.pk for turn in turns if turn.kind != TurnKind.TALLY], "test")
    finally:
        connection.close()


def vote_in_part(session: CouncilSession) -> list[Turn]:
    """Until all but the last ballot of the vote are cast: its round is open. Returns the turns of those that are."""
    while not Turn.objects.filter(session=session, kind=TurnKind.BALLOT).exists():
        work(session, limit=1)
    *first, _last = Turn.objects.filter(session=session, kind=TurnKind.BALLOT, status="pending")
    with ThreadPoolExecutor(1) as worker:  # which gives its connection back
        worker.submit(run, session, first).result()
    return first


def run_one(turn: Turn) -> None:
    run(turn.session, [turn])


def conclude(user: User, session: CouncilSession) -> CouncilSession:
    """Until it has ended or waits for people. What is to be asked again a moment later, is."""
    services.start(user, session.pk)
    until = time.monotonic() + 30
    while work(session).status == "running":
        left = Turn.objects.filter(session=session, status__in=["pending", "running"], human=False)
        if not left.exists():
            break  # people are waited for
        assert time.monotonic() < until, f"{session.status}, and nothing is due: {_picture(session)}"
        time.sleep(0.05)
    return session


def _picture(session: CouncilSession) -> list[tuple[object, ...]]:
    turns = Turn.objects.filter(session=session).order_by("created_at")
    return list(
        turns.values_list(
            "round__number", "kind", "seat__name", "status", "attempt", "worker", "not_before", "error", "error_detail"
        )
    )


def assert_decisions_recount() -> None:
    for session in CouncilSession.objects.filter(runs__decision__isnull=False).distinct():
        found = recount(session)
        assert found["agrees"], found["differences"]
