"""A council over a real database and a model server over HTTP: the protocol of turns, and what ends a run."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import ProgrammingError, connection, transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import User
from council import claims, orchestrator, selectors, services, sweeper
from council.models import Ballot, Budget, CouncilSession, Decision, LlmCall, Run, SessionEvent, Turn
from council.recount import recount
from realtime.errors import IllegalState
from tests.support.councils import Convene, conclude, pending, run_one, work
from tests.support.fake_openai import FakeModelServer

pytestmark = pytest.mark.django_db(transaction=True)


def types_of(session: CouncilSession) -> list[str]:
    return list(SessionEvent.objects.filter(stream=session).order_by("seq").values_list("type", flat=True))


def assert_gapless(session: CouncilSession) -> None:
    session.refresh_from_db()
    numbers = list(SessionEvent.objects.filter(stream=session).order_by("seq").values_list("seq", flat=True))
    assert numbers == list(range(1, session.last_seq + 1))


def test_a_council_decides(user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    assert session.status == "completed"
    decision = Decision.objects.get(run__session=session)
    assert decision.option in {"Tabs", "Spaces", "Both"}
    assert Ballot.objects.filter(round__run__session=session).count() == 3
    assert_gapless(session)


def test_the_log_tells_the_whole_story_in_order(user: User, convene: Convene) -> None:
    found = types_of(conclude(user, convene()))
    assert found[:3] == ["session.created", "session.started", "round.started"]
    assert found[-2:] == ["decision.reached", "session.completed"]
    assert found.count("round.started") == found.count("round.closed") == 3
    assert found.count("ballot.cast") == 3
    assert found.index("ballot.cast") < found.index("decision.reached")


def test_a_debate_is_held_when_the_opening_disagrees(user: User, convene: Convene) -> None:
    models = ("fake-option-1", "fake-option-2", "fake-option-3", "fake")
    session = conclude(user, convene(models, protocol={"preset": "debate"}))
    stages = list(session.runs.get().rounds.values_list("stage", flat=True))
    assert stages == ["opening", "debate", "ballot", "synthesis"]


def test_agreement_at_the_opening_skips_debate_and_ballot(user: User, convene: Convene) -> None:
    models = ("fake-option-1", "fake-option-1", "fake-option-1", "fake")
    session = conclude(user, convene(models, protocol={"preset": "debate"}))
    assert list(session.runs.get().rounds.values_list("stage", flat=True)) == ["opening", "synthesis"]


def test_dissenters_write_the_minority_report(user: User, convene: Convene) -> None:
    models = ("fake-option-1", "fake-option-1", "fake-option-2", "fake")
    decision = Decision.objects.get(run__session=conclude(user, convene(models)))
    assert decision.dissent or decision.option
    assert {item["name"] for item in decision.dissent} <= {"Seat 1", "Seat 2", "Seat 3"}
    assert all(item["text"] for item in decision.dissent)


def test_a_dead_seat_neither_fails_nor_stalls_the_council(user: User, convene: Convene) -> None:
    session = convene(("fake", "fake", "fake-500", "fake"), protocol={"turn_deadline_s": 1})
    services.start(user, session.pk)
    for _ in range(40):
        work(session)
        sweeper.sweep()
        if session.status != "running":
            break
        time.sleep(0.1)
    assert session.status == "completed"
    decision = Decision.objects.get(run__session=session)
    assert [(item["name"], item["stage"]) for item in decision.missing] == [("Seat 3", "opening")]
    assert decision.notes


def test_without_quorum_the_run_fails_with_the_reason(user: User, convene: Convene) -> None:
    session = conclude(user, convene(("fake", "fake-400", "fake-400", "fake")))
    assert (session.status, session.runs.get().reason) == ("failed", "quorum_not_met")


def test_the_chair_fails_and_the_next_seat_writes(user: User, convene: Convene) -> None:
    decision = Decision.objects.get(run__session=conclude(user, convene(("fake", "fake", "fake", "fake-400"))))
    assert decision.source == "stand_in"


def test_two_workers_claim_a_turn_once(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    turn = pending(session)[0]
    barrier, found = threading.Barrier(2), []

    def grab() -> None:
        barrier.wait()
        found.extend(claims.claim(session.pk, [turn.pk], "test").claims)
        connection.close()

    threads = [threading.Thread(target=grab) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


def test_a_fenced_worker_changes_nothing(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    turn = pending(session)[0]
    [first] = claims.claim(session.pk, [turn.pk], "one").claims
    Turn.objects.filter(pk=turn.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert sweeper.sweep()["leases"] == 1
    [second] = claims.claim(session.pk, [turn.pk], "two").claims
    assert second.attempt == 2
    before = SessionEvent.objects.filter(stream=session).count()
    late = orchestrator.Finished({"answer": {"answer": "too late"}})
    assert orchestrator.finish([(first, late)]).completed == set()
    assert SessionEvent.objects.filter(stream=session).count() == before
    assert Turn.objects.get(pk=turn.pk).status == "running"


def test_a_lease_is_renewed_only_for_its_holder(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    [claim] = claims.claim(session.pk, [pending(session)[0].pk], "one").claims
    assert claims.renew({claim.turn_id: claim.token}) == {claim.turn_id}
    assert claims.renew({claim.turn_id: uuid4()}) == set()


def test_stop_cancels_what_runs_and_nothing_is_stored_later(
    user: User, convene: Convene, fake: FakeModelServer
) -> None:
    session = services.start(user, convene(("fake-slow", "fake-slow", "fake-slow", "fake")).pk)
    threads = [threading.Thread(target=run_one, args=(turn,)) for turn in pending(session)]
    for thread in threads:
        thread.start()
    time.sleep(0.6)
    services.stop(user, session.pk)
    stopped_at = time.time()
    for thread in threads:
        thread.join(timeout=5)
    session.refresh_from_db()
    assert session.status == "stopped"
    assert types_of(session)[-1] == "session.stopped"
    assert {turn.status for turn in session.turns.all()} == {"cancelled"}
    assert not any(LlmCall.objects.filter(session=session).values_list("response", flat=True))
    closed = [seen.disconnected_at for seen in fake.requests]
    assert all(moment is not None and moment - stopped_at < 1 for moment in closed)


def test_seats_that_are_asked_together_fail_apart(user: User, convene: Convene, fake: FakeModelServer) -> None:
    """One worker holds all seats of a stage: a reply that cannot be stored, a refusal and a 400 each stay with their seat."""
    fake.set_rules({"model": "fake-nul", "reply": "no JSON \x00"})
    session = services.start(user, convene(("fake-option-1", "fake-nul", "fake-400", "fake-option-1", "fake")).pk)
    work(session, limit=1)
    seen = dict(Turn.objects.filter(session=session, round__number=1).values_list("seat__model", "status"))
    assert seen["fake-option-1"] == "completed"
    assert seen["fake-400"] == "failed"
    assert seen["fake-nul"] == "pending"  # its attempt failed; it may try again
    assert "\ufffd" in LlmCall.objects.get(session=session, turn__seat__model="fake-nul", ordinal=0).response


def test_a_budget_is_a_hard_stop(user: User, convene: Convene) -> None:
    session = conclude(user, convene(budget={"tokens": 50}))
    assert (session.status, session.runs.get().exhausted) == ("failed", "budget")
    assert session.budget.tokens_used == 0


def test_a_budget_spent_by_the_opening_gives_a_partial_decision(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    work(session, limit=1)
    Budget.objects.filter(session=session).update(tokens_limit=F("tokens_used"))
    work(session)
    decision = Decision.objects.get(run__session=session)
    assert (session.status, decision.outcome) == ("completed", "partial")
    budget = Budget.objects.get(session=session)
    assert budget.tokens_used == budget.tokens_limit
    assert budget.tokens_reserved == 0


def test_every_call_is_recorded_and_settled(user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    calls = LlmCall.objects.filter(session=session)
    assert {call.status for call in calls} == {"ok"}
    session.budget.refresh_from_db()
    used = sum(call.prompt_tokens + call.completion_tokens for call in calls)
    assert (session.budget.tokens_used, session.budget.tokens_reserved) == (used, 0)


def test_an_overdue_run_concludes(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    work(session, limit=1)
    Run.objects.filter(session=session).update(deadline_at=timezone.now() - timedelta(seconds=1))
    sweeper.sweep()
    assert work(session).status == "completed"
    assert Run.objects.get(session=session).exhausted == "deadline"


def test_a_lost_nudge_is_sent_again(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    Turn.objects.filter(session=session).update(dispatched_at=timezone.now() - timedelta(seconds=30))
    assert sweeper.sweep()["dispatched"] == 3
    assert sweeper.sweep()["dispatched"] == 0


def test_an_orphaned_call_is_charged_in_full(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    [claim] = claims.claim(session.pk, [pending(session)[0].pk], "one").claims
    session.budget.tokens_reserved = 300
    session.budget.save()
    LlmCall.objects.create(
        session=session, turn_id=claim.turn_id, attempt=1, ordinal=0, field="answer", model="fake", system="", user="",
        tokens_reserved=300, started_at=timezone.now() - timedelta(seconds=120),
    )  # fmt: skip
    assert sweeper.settle_orphans() == 0  # its worker still holds the turn
    Turn.objects.filter(pk=claim.turn_id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    sweeper.sweep()
    sweeper.settle_orphans()
    session.budget.refresh_from_db()
    assert (session.budget.tokens_used, session.budget.tokens_reserved) == (300, 0)


def test_an_interrupt_reaches_the_seats_that_are_at_work(user: User, convene: Convene, fake: FakeModelServer) -> None:
    session = services.start(user, convene(("fake-slow", "fake-slow", "fake-slow", "fake")).pk)
    threads = [threading.Thread(target=run_one, args=(turn,)) for turn in pending(session)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    services.post_message(user, session.pk, content="Mind the Makefile.", kind="constraint", interrupt=True)
    for thread in threads:
        thread.join(timeout=5)
    assert {turn.status for turn in session.turns.all()} == {"pending"}
    fake.reset()
    work(session, limit=1)
    assert any("Mind the Makefile." in str(seen.body) for seen in fake.requests)


def test_a_finished_council_takes_a_follow_up(user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    with pytest.raises(IllegalState):
        services.start(user, session.pk)
    services.post_message(user, session.pk, content="And in Go?", kind="question")
    again = conclude(user, session)
    assert [run.number for run in again.runs.all()] == [1, 2]
    assert again.status == "completed"
    assert recount(again)["agrees"]


def test_ballots_stay_sealed_until_their_round_is_closed(user: User, convene: Convene) -> None:
    session = services.start(user, convene(("fake-option-1", "fake-option-2", "fake-option-3", "fake")).pk)
    while Ballot.objects.filter(round__run__session=session).count() < 3:
        work(session, limit=1)
    snapshot = selectors.session_snapshot(session.pk)
    assert snapshot["rounds"][-1]["ballots"] == []
    cast = SessionEvent.objects.filter(stream=session, type__in=["ballot.cast", "turn.completed"])
    assert not any("ranking" in str(event.payload) for event in cast.filter(payload__kind="ballot"))


def test_the_database_refuses_an_illegal_transition(user: User, convene: Convene) -> None:
    session = convene()
    with pytest.raises(ProgrammingError, match="Invalid transition"), transaction.atomic():
        CouncilSession.objects.filter(pk=session.pk).update(status="completed")
