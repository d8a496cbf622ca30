"""Pause and resume: seats that are at work finish, nothing new is asked, and time stands still."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models import F
from django.test import Client
from django.utils import timezone

from accounts.models import User
from council import claims, orchestrator, people, services, sweeper
from council.models import CouncilSession, Run, SessionEvent, Turn
from council.recount import recount
from realtime.errors import IllegalState
from tests.conftest import Api
from tests.council.test_snapshot import events, snapshot
from tests.support.councils import Convene, conclude, pending, run, work
from tests.support.reducer import reduce

pytestmark = pytest.mark.django_db(transaction=True)


def begun(user: User, session: CouncilSession) -> CouncilSession:
    return services.start(user, session.pk)


def types_of(session: CouncilSession) -> list[str]:
    return list(SessionEvent.objects.filter(stream=session).order_by("seq").values_list("type", flat=True))


def test_a_seat_at_work_finishes_and_nothing_new_is_asked(user: User, convene: Convene) -> None:
    session = begun(user, convene())
    first, *others = pending(session)
    [held] = claims.claim(session.pk, [first.pk], "one").claims
    services.pause(user, session.pk)
    assert claims.claim(session.pk, [turn.pk for turn in others], "two").claims == []
    Turn.objects.filter(pk=held.turn_id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert set(sweeper.sweep().values()) == {0}  # whatever was lost is looked for after the pause
    resumed = services.resume(user, session.pk)
    assert resumed.status == "running"
    assert sweeper.sweep()["leases"] == 1
    assert work(session).status == "completed"
    assert recount(session)["agrees"]


def test_the_last_of_a_round_waits_for_the_end_of_the_pause(user: User, convene: Convene) -> None:
    session = begun(user, convene())
    turns = pending(session)
    held = claims.claim(session.pk, [turn.pk for turn in turns], "one").claims
    services.pause(user, session.pk)
    answered(held)
    assert list(session.runs.get().rounds.values_list("number", "tally")) == [(1, None)]
    services.resume(user, session.pk)
    assert list(session.runs.get().rounds.values_list("number", flat=True)) == [1, 2]
    assert work(session).status == "completed"


def answered(held: list[claims.Claim]) -> None:
    said = [{"answer": {"answer": f"{one}.", "option": one}, "citations": []} for one in ("Tabs", "Spaces", "Both")]
    orchestrator.finish([(c, orchestrator.Finished(one)) for c, one in zip(held, said, strict=True)], "one")


def test_the_log_tells_of_it_and_leads_to_the_snapshot(user: User, convene: Convene) -> None:
    session = begun(user, convene())
    before = snapshot(session)
    services.pause(user, session.pk)
    assert snapshot(session)["session"]["status"] == "paused"
    services.resume(user, session.pk)
    assert types_of(session)[-2:] == ["session.paused", "session.resumed"]
    assert reduce(before, events(session, before["last_seq"])) == snapshot(session)


def test_time_stands_still(user: User, convene: Convene) -> None:
    session = begun(user, convene(("fake", "fake", "human", "fake"), protocol={"run_deadline_s": 60}))
    services.pause(user, session.pk)
    long_ago = timedelta(hours=50)
    Run.objects.update(paused_at=F("paused_at") - long_ago, deadline_at=F("deadline_at") - long_ago)
    Turn.objects.filter(human=True).update(deadline_at=F("deadline_at") - long_ago)
    assert set(sweeper.sweep().values()) == {0}
    services.resume(user, session.pk)
    now = timezone.now()
    assert Run.objects.get().deadline_at > now
    assert Run.objects.get().paused_at is None
    [waiting] = people.waiting(user, session.pk)
    assert waiting.deadline_at is not None
    assert waiting.deadline_at > now
    assert sweeper.sweep()["runs"] == 0


def test_nobody_answers_in_a_pause(user: User, convene: Convene) -> None:
    session = begun(user, convene(("fake", "fake", "human", "fake")))
    [turn] = people.waiting(user, session.pk)
    services.pause(user, session.pk)
    with pytest.raises(IllegalState):
        people.reply(user, session.pk, turn.pk, {"answer": "So.", "option": "Tabs", "confidence": 0.5})


def test_a_paused_council_can_be_stopped(user: User, convene: Convene) -> None:
    session = begun(user, convene())
    services.pause(user, session.pk)
    assert services.stop(user, session.pk).status == "stopped"
    assert pending(session) == []


def test_what_came_to_its_end_in_a_pause_of_the_budget_concludes_after_it(user: User, convene: Convene) -> None:
    session = begun(user, convene())
    run(session, pending(session))
    services.pause(user, session.pk)
    found = session.runs.select_related("session").get()
    found.session.refresh_from_db()
    with transaction.atomic():
        claims.lock_session(session.pk)
        orchestrator.exhaust(found.session, found, "budget")
    session.refresh_from_db()
    assert session.status == "paused"
    services.resume(user, session.pk)
    assert work(session).status == "completed"
    assert session.runs.get().decision.outcome == "partial"


def test_only_what_runs_is_paused_and_only_what_is_paused_resumed(api: Api, user: User, convene: Convene) -> None:
    base = f"/api/council-sessions/{convene().pk}"
    for what in ("pause", "resume"):
        refused = api.post(f"{base}/{what}")
        assert (refused.status_code, refused.json()["code"]) == (409, "illegal_state")
    api.post(f"{base}/start")
    assert api.post(f"{base}/resume").status_code == 409
    paused = api.post(f"{base}/pause")
    assert (paused.status_code, paused.json()["status"]) == (202, "paused")
    assert api.post(f"{base}/pause").status_code == 409
    assert (api.post(f"{base}/resume").json()["status"], api.get(base).json()["status"]) == ("running", "running")
    ended = conclude(user, convene())
    assert api.post(f"/api/council-sessions/{ended.pk}/pause").status_code == 409


def test_the_page_pauses_and_resumes(client: Client, user: User, convene: Convene) -> None:
    client.force_login(user)
    session = begun(user, convene())
    assert client.post(f"/councils/{session.pk}/pause").status_code == 302
    shown = client.get(f"/councils/{session.pk}").content.decode()
    assert "Paused: seats that are at work finish" in shown
    assert client.post(f"/councils/{session.pk}/resume").status_code == 302
    session.refresh_from_db()
    assert session.status == "running"
