"""The gate: a person looks at the outcome before anybody writes it up."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from council import claims, people, services, sweeper
from council.export.markdown import render
from council.export.minutes import minutes
from council.export.record import record
from council.models import CouncilSession, Decision, LlmCall, Message, Run, SessionEvent, Turn
from council.recount import recount
from realtime.errors import IllegalState
from tests.conftest import Api
from tests.support.councils import Convene, work

pytestmark = pytest.mark.django_db(transaction=True)

GATED = {"preset": "debate", "gate": "before_synthesis"}


def at_the_gate(user: User, session: CouncilSession) -> CouncilSession:
    services.start(user, session.pk)
    work(session)
    assert session.status == "running"
    return session


def stages(session: CouncilSession) -> list[str]:
    return list(session.runs.get().rounds.values_list("stage", flat=True))


def decide(api: Api, session: CouncilSession, **body: str) -> Any:
    answered = api.post(f"/api/council-sessions/{session.pk}/gate", body)
    work(session)
    return answered


def decision_of(session: CouncilSession) -> Decision:
    return Decision.objects.get(run__session=session)


def test_the_run_waits_with_the_computed_outcome(user: User, api: Api, convene: Convene) -> None:
    session = at_the_gate(user, convene(protocol=GATED))
    opened = SessionEvent.objects.get(stream=session, type="gate.opened").payload
    shown = api.get(f"/api/council-sessions/{session.pk}/gate").json()
    assert (opened["turn"], opened["outcome"]) == (shown["turn"], shown["context"])
    assert opened["outcome"]["option"] in session.options
    assert opened["outcome"]["allowed"] == ["approve", "debate", "stop"]
    assert not LlmCall.objects.filter(session=session, turn__kind="synthesis").exists()
    listed = api.get(f"/api/council-sessions/{session.pk}/turns?waiting=true").json()["results"]
    assert [one["kind"] for one in listed] == ["gate"]


def test_approval_goes_on_and_its_note_reaches_the_chair(user: User, api: Api, convene: Convene) -> None:
    session = at_the_gate(user, convene(protocol=GATED))
    expected = people.turn_detail(user, session.pk, people.open_gate(user, session.pk).pk)["context"]
    assert decide(api, session, decision="approve", note="Name the linter.").status_code == 200
    decision = decision_of(session)
    assert (session.status, decision.source, decision.option) == ("completed", "chair", expected["option"])
    assert "Name the linter." in LlmCall.objects.filter(session=session, turn__kind="synthesis")[0].user
    turn = Turn.objects.get(session=session, kind="gate")
    assert (turn.person, turn.result) == (user, {"gate": {"decision": "approve", "note": "Name the linter."}})
    written = render(minutes(record(session)))
    assert "A person approved that the decision be written" in written
    assert recount(session)["agrees"]


def test_a_debate_is_held_and_voted_on_and_put_to_the_gate_again(user: User, api: Api, convene: Convene) -> None:
    session = at_the_gate(user, convene(protocol=GATED))
    assert decide(api, session, decision="debate").status_code == 200
    first = ["opening", "debate", "ballot", "gate"]
    assert stages(session) == [*first, "debate", "ballot", "gate"]
    assert session.status == "running"
    decide(api, session, decision="approve")
    assert stages(session) == [*first, "debate", "ballot", "gate", "synthesis"]
    assert session.status == "completed"
    assert decision_of(session).outcome == "decided"
    assert recount(session)["agrees"]


def test_stop_ends_with_the_count_and_no_text(user: User, api: Api, convene: Convene) -> None:
    session = at_the_gate(user, convene(protocol=GATED))
    decide(api, session, decision="stop", note="We know enough.")
    decision = decision_of(session)
    assert (session.status, decision.outcome, decision.source) == ("completed", "decided", "verbatim")
    assert decision.notes == [
        "A person ended the council at the gate, before a decision was written: the answer is the leading one verbatim."
    ]
    assert not Message.objects.filter(session=session).exists()  # nobody is left to read it, and it opens no follow-up
    assert recount(session)["agrees"]


def test_a_gate_that_nobody_answers_gives_a_partial_decision(user: User, api: Api, convene: Convene) -> None:
    session = at_the_gate(user, convene(protocol=GATED))
    Turn.objects.filter(session=session, kind="gate").update(deadline_at=timezone.now())
    late = decide(api, session, decision="approve")
    assert (late.status_code, late.json()["code"]) == (409, "no_gate")
    sweeper.sweep()
    decision = decision_of(work(session))
    assert (session.status, decision.outcome) == ("completed", "partial")
    assert decision.notes[0].startswith("Nobody answered the gate in time")
    assert recount(session)["agrees"]


def test_an_overdue_run_does_not_wait_at_the_gate(user: User, convene: Convene) -> None:
    session = at_the_gate(user, convene(protocol=GATED))
    Run.objects.filter(session=session).update(deadline_at=timezone.now())
    sweeper.sweep()
    assert (work(session).status, decision_of(session).outcome) == ("completed", "partial")
    assert recount(session)["agrees"]


def test_no_debate_without_a_debate_in_the_protocol(user: User, api: Api, convene: Convene) -> None:
    session = at_the_gate(user, convene(protocol={"gate": "before_synthesis"}))
    refused = decide(api, session, decision="debate", note="Again.")
    assert (refused.status_code, refused.json()["code"]) == (409, "no_debate")
    assert not Message.objects.filter(session=session).exists()
    assert people.open_gate(user, session.pk).status == "pending"


def test_no_debate_without_a_quorum(user: User, api: Api, convene: Convene) -> None:
    models = ("fake-option-1", "fake-option-2", "fake-option-3", "fake-400", "fake")
    session = at_the_gate(user, convene(models, protocol={**GATED, "quorum": 4, "policy": "partial"}))
    assert (
        decide(api, session, decision="debate").json()["detail"] == "Only 3 seats are still there, and a quorum is 4."
    )


def test_a_run_holds_so_many_debates_and_no_more(user: User, api: Api, convene: Convene) -> None:
    session = at_the_gate(user, convene(protocol=GATED))
    while decide(api, session, decision="debate").status_code == 200:
        pass
    assert stages(session).count("debate") == 5
    decide(api, session, decision="approve")
    assert session.status == "completed"
    assert recount(session)["agrees"]


@pytest.mark.parametrize("body", [{}, {"decision": "perhaps"}, {"decision": "stop", "note": 7 * [1]}])
def test_an_answer_that_is_none_is_refused(user: User, api: Api, convene: Convene, body: Any) -> None:
    session = at_the_gate(user, convene(protocol=GATED))
    assert decide(api, session, **body).status_code == 400
    assert people.open_gate(user, session.pk).status == "pending"


def test_nobody_else_decides_and_nobody_twice(user: User, api: Api, other_api: Api, convene: Convene) -> None:
    session = at_the_gate(user, convene(protocol=GATED))
    assert decide(other_api, session, decision="stop").status_code == 404
    assert decide(api, session, decision="approve").status_code == 200
    assert decide(api, session, decision="stop").json()["code"] == "no_gate"
    turn = Turn.objects.get(session=session, kind="gate")
    refused = api.post(f"/api/council-sessions/{session.pk}/turns/{turn.pk}", {"decision": "stop"})
    assert (refused.status_code, refused.json()["code"]) == (409, "is_gate")


def test_two_decisions_at_once_are_one(user: User, convene: Convene) -> None:
    session = at_the_gate(user, convene(protocol=GATED))
    came: list[str] = []

    def second() -> None:
        try:
            people.decide_gate(user, session.pk, decision="stop")
        except IllegalState as error:
            came.append(error.code)
        finally:
            connection.close()

    thread = threading.Thread(target=second)
    with transaction.atomic():
        claims.lock_session(session.pk)
        thread.start()
        thread.join(timeout=0.4)
        assert thread.is_alive()  # it waits for the lock
        people.decide_gate(user, session.pk, decision="approve")
    thread.join(timeout=10)
    assert came == ["no_gate"]
    assert work(session).status == "completed"
    assert decision_of(session).source == "chair"


def test_a_gate_comes_before_a_synthesis_or_not_at_all(api: Api) -> None:
    ask = {"question": "What?", "protocol": {"preset": "poll", "gate": "before_synthesis"}}
    refused = api.post("/api/council-sessions", ask)
    assert [one["pointer"] for one in refused.json()["errors"]] == ["/protocol/gate"]
    ask["protocol"] = {"stages": ["opening", "gate", "synthesis"]}
    assert [one["pointer"] for one in api.post("/api/council-sessions", ask).json()["errors"]] == ["/protocol/stages/1"]


def test_the_gate_has_time_of_its_own(user: User, convene: Convene) -> None:
    protocol = {**GATED, "human_deadline_s": 4000, "run_deadline_s": 60}
    session = at_the_gate(user, convene(protocol=protocol))
    deadline = people.open_gate(user, session.pk).deadline_at
    assert deadline is not None
    assert timezone.now() + timedelta(seconds=3900) < deadline < Run.objects.get(session=session).deadline_at
