"""A worker that goes on with its council: the next stage without a message, and what becomes of it when the worker dies."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from council import claims, counting, orchestrator, runner, services, sweeper
from council.models import CouncilSession, Decision, SessionEvent, Turn
from council.orchestrator import Finished
from council.recount import recount
from tests.support.councils import Convene, conclude, pending, work

pytestmark = pytest.mark.django_db(transaction=True)
LONG = 60.0  # seconds of a slice that no test outlasts


def go_on(session: CouncilSession, slice_s: float = LONG) -> None:
    """One task, as a worker runs it."""
    try:
        runner.run_turns(session.pk, [turn.pk for turn in pending(session)], "test", slice_s)
    finally:
        connection.close()
    session.refresh_from_db()


def kinds(session: CouncilSession) -> list[str]:
    return list(SessionEvent.objects.filter(stream=session).order_by("seq").values_list("type", flat=True))


def test_one_task_sees_a_whole_council_through(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    go_on(session)
    assert (session.status, pending(session)) == ("completed", [])
    assert recount(session)["agrees"]
    by_steps = conclude(user, convene())
    assert kinds(session) == kinds(by_steps)  # nobody who reads the log can tell


def test_after_its_slice_the_council_lines_up_again(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    go_on(session, slice_s=0.0)
    assert session.status == "running"
    assert {turn.kind for turn in pending(session)} == {"ballot"}


def test_turns_that_were_taken_by_a_worker_that_died_are_given_back(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    held = claims.claim(session.pk, [turn.pk for turn in pending(session)], "one").claims
    said = [
        {"answer": {"answer": f"{option}.", "option": option}, "citations": []} for option in ("Tabs", "Spaces", "Both")
    ]
    [following] = orchestrator.finish([(c, Finished(one)) for c, one in zip(held, said, strict=True)], "one").next
    assert {claim.kind for claim in following.claims} == {"ballot"}
    Turn.objects.filter(session=session, kind="ballot").update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert sweeper.sweep()["leases"] == 3
    assert work(session).status == "completed"
    assert set(Turn.objects.filter(session=session, kind="ballot").values_list("attempt", flat=True)) == {2}


def test_open_answers_are_counted_by_a_task_because_a_model_compares_them(user: User, convene: Convene) -> None:
    session = services.start(user, convene(options=[]).pk)
    go_on(session)
    assert [turn.kind for turn in pending(session)] == ["tally"]
    assert work(session).status == "completed"


def test_a_count_that_fails_at_once_fails_alone_and_loses_no_answer(
    user: User, convene: Convene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("no such rule")

    session = services.start(user, convene().pk)
    monkeypatch.setattr(counting, "count", broken)
    monkeypatch.setattr(runner, "count", broken)
    work(session)
    assert (session.status, session.reason) == ("failed", "tally_failed")
    assert Turn.objects.filter(session=session, kind="answer", status="completed").count() == 3
    assert Turn.objects.get(session=session, kind="tally").error == "count_failed"


def test_what_is_counted_at_once_is_what_comes_next_and_nothing_else(user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    decision = Decision.objects.get(run__session=session)
    tallies = Turn.objects.filter(session=session, kind="tally").order_by("round__number")
    assert [turn.result["winner"] for turn in tallies if turn.result][-1] is not None
    assert decision.option in {"Tabs", "Spaces", "Both"}
    assert all(turn.started_at == turn.finished_at and turn.attempt == 1 for turn in tallies)
