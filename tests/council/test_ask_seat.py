"""A question to one seat: its reply stands beside the run, is part of the record, and changes nothing."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from django.db import connection

from accounts.models import User
from council import asides, selectors, services, sweeper
from council.export import export
from council.models import Budget, CouncilSession, LlmCall, Message, Seat, SessionEvent, Turn
from council.recount import recount
from knowledge import services as knowledge
from realtime.errors import IllegalState
from tests.conftest import Api
from tests.council.test_snapshot import events, snapshot
from tests.support.councils import Convene, conclude, pending, run, run_one, work
from tests.support.fake_openai import FakeModelServer
from tests.support.reducer import reduce

pytestmark = pytest.mark.django_db(transaction=True)
HOW = "How sure are you of the cost of storage?"


def voter(session: CouncilSession, position: int = 0) -> Seat:
    return session.seats.get(position=position)


def address(session: CouncilSession, seat: Seat) -> str:
    return f"/api/council-sessions/{session.pk}/seats/{seat.pk}/ask"


def reply_turn(session: CouncilSession) -> Turn:
    return Turn.objects.get(session=session, kind="reply")


def advance_to(session: CouncilSession, stage: str) -> None:
    """Work until a round of this stage is open."""
    for _ in range(20):
        if session.runs.latest("number").rounds.filter(stage=stage, closed_at=None).exists():
            return
        work(session, limit=1)
    raise AssertionError(f"no {stage}")


def test_a_finished_council_replies_and_its_decision_stays(api: Api, user: User, convene: Convene) -> None:
    pack = knowledge.create_pack(user, name="Storage")
    text = "Cold storage costs 3 euros a month for each terabyte, as measured over four years in the old archive."
    knowledge.add_entries(pack, user, [{"title": "Cost of storage", "content": text}])
    session = conclude(user, convene(packs=[pack.pk]))
    before = recount(session)["decision"]
    asked = api.post(address(session, voter(session)), {"question": HOW})
    assert asked.status_code == 202, asked.content
    message = asked.json()["message"]
    assert (message["kind"], message["seat"], message["turn"]) == (
        "question",
        str(voter(session).pk),
        asked.json()["turn"],
    )
    work(session)
    turn = reply_turn(session)
    assert turn.result is not None
    assert (turn.status, turn.result["reply"]["question"]) == ("completed", HOW)
    assert {one["status"] for one in turn.result["citations"]} == {"verified"}
    found = recount(session)
    assert found["agrees"], found["differences"]
    assert found["decision"] == before
    assert session.status == "completed"


def test_it_is_charged_streamed_and_told_of(
    user: User, convene: Convene, fake: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("council.live.nudge.publish_delta", lambda *_, **delta: told.append(delta["turn"]))
    session = conclude(user, convene())
    early, tokens = snapshot(session), Budget.objects.get(session=session).tokens_used
    asides.ask(user, session.pk, voter(session).pk, HOW)
    between = snapshot(session)
    fake.set_rules({"token_delay_s": 0.02})  # longer than text is gathered for
    work(session)
    assert Budget.objects.get(session=session).tokens_used > tokens
    assert str(reply_turn(session).pk) in told
    last = snapshot(session)
    for taken in (early, between):
        built = reduce(taken, events(session, taken["last_seq"]))
        for round_ in built["rounds"]:
            round_["turns"].sort(key=lambda turn: turn["turn"])
        assert built == last


def test_it_reads_its_own_answer_and_nothing_of_the_others(user: User, convene: Convene) -> None:
    session = conclude(user, convene(protocol={"preset": "debate"}, options=[], question="How to keep backups?"))
    asides.ask(user, session.pk, voter(session).pk, HOW)
    work(session)
    prompt = LlmCall.objects.get(turn__kind="reply").user
    said = {turn.seat_id: turn.result for turn in Turn.objects.filter(kind="answer", round__number=1)}
    answers = {seat: result["answer"]["answer"] for seat, result in said.items() if result}
    own = answers.pop(voter(session).pk)
    assert HOW in prompt
    assert own.split("[")[0].strip() in prompt
    assert not [text for text in answers.values() if text != own and text.split("[")[0].strip() in prompt]


def test_a_blind_round_keeps_what_is_said_in_it(api: Api, user: User, convene: Convene) -> None:
    session = services.start(user, convene(protocol={"preset": "debate"}).pk)
    run_one(pending(session)[0])  # this seat has answered, in the round that is open
    refused = api.post(address(session, voter(session)), {"question": HOW})
    assert (refused.status_code, refused.json()["code"]) == (409, "seat_has_not_spoken")
    advance_to(session, "debate")
    run_one(pending(session)[0])
    assert api.post(address(session, voter(session)), {"question": HOW}).status_code == 202
    assert reply_turn(session).round.stage == "opening"


def test_the_run_neither_waits_for_it_nor_ends_it(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    advance_to(session, "ballot")
    asides.ask(user, session.pk, voter(session).pk, HOW)
    for _ in range(20):
        due = [turn for turn in pending(session) if turn.kind != "reply"]
        if not due:
            break
        for turn in due:
            run_one(turn)
    session.refresh_from_db()
    assert (session.status, reply_turn(session).status) == ("completed", "pending")
    work(session)
    assert reply_turn(session).status == "completed"


def test_a_reply_and_turns_of_a_later_run_can_share_a_worker(user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    services.post_message(user, session.pk, content="And in winter?", kind="question")
    asides.ask(user, session.pk, voter(session).pk, HOW)
    services.start(user, session.pk)
    run(session, pending(session))
    assert reply_turn(session).status == "completed"
    assert reply_turn(session).round.run.number == 1
    assert not LlmCall.objects.filter(user__contains=HOW).exclude(turn__kind="reply").exists()
    assert work(session).status == "completed"


def test_stop_cancels_it_also_after_the_end(user: User, convene: Convene) -> None:
    running = services.start(user, convene().pk)
    advance_to(running, "ballot")
    asides.ask(user, running.pk, voter(running).pk, HOW)
    services.stop(user, running.pk)
    assert reply_turn(running).status == "cancelled"
    asides.ask(user, running.pk, voter(running).pk, HOW)  # stopped, and its seats have answered
    services.stop(user, running.pk)
    assert set(Turn.objects.filter(kind="reply").values_list("status", "ordinal")) == {
        ("cancelled", 0),
        ("cancelled", 1),
    }
    running.refresh_from_db()
    assert running.status == "stopped"


@pytest.mark.parametrize(
    ("model", "code"), [("fake-400", "bad_request"), ("fake-malformed", "not_json")], ids=["error", "unreadable"]
)
def test_a_model_that_cannot_reply_fails_the_turn_alone(user: User, convene: Convene, model: str, code: str) -> None:
    session = conclude(user, convene())
    Seat.objects.filter(pk=voter(session).pk).update(model=model)
    asides.ask(user, session.pk, voter(session).pk, HOW)
    until = time.monotonic() + 10
    while reply_turn(session).status == "pending" and time.monotonic() < until:
        work(session)
        time.sleep(0.05)
    turn = reply_turn(session)
    assert (turn.status, turn.error) == ("failed", code)
    session.refresh_from_db()
    assert session.status == "completed"


@pytest.mark.forges
def test_a_budget_is_a_hard_stop(api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    used = Budget.objects.get(session=session)
    Budget.objects.filter(session=session).update(tokens_limit=used.tokens_used + 5)
    asides.ask(user, session.pk, voter(session).pk, HOW)
    work(session)
    assert (reply_turn(session).status, reply_turn(session).error) == ("failed", "budget")
    Budget.objects.filter(session=session).update(tokens_limit=used.tokens_used)
    refused = api.post(address(session, voter(session)), {"question": HOW})
    assert (refused.status_code, refused.json()["code"]) == (409, "budget_exhausted")
    session.refresh_from_db()
    assert session.status == "completed"


def test_a_lost_worker_and_a_passed_deadline_are_mended_after_the_end(user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    asides.ask(user, session.pk, voter(session).pk, HOW)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE council_turn SET dispatched_at = NULL WHERE kind = 'reply'")
    assert sweeper.redispatch() == 1
    with connection.cursor() as cursor:
        cursor.execute("UPDATE council_turn SET deadline_at = now() - interval '1 s' WHERE kind = 'reply'")
    assert sweeper.sweep()["deadlines"] == 1
    assert (reply_turn(session).status, reply_turn(session).error) == ("failed", "deadline")


def test_who_cannot_be_asked(api: Api, user: User, convene: Convene) -> None:
    session = convene()
    assert api.post(address(session, voter(session)), {"question": HOW}).status_code == 409  # a draft
    conclude(user, session)
    chair = api.post(address(session, voter(session, 3)), {"question": HOW})
    assert (chair.status_code, chair.json()["code"]) == (409, "seat_has_not_spoken")
    Seat.objects.filter(pk=voter(session, 1).pk).update(model="human")
    human = api.post(address(session, voter(session, 1)), {"question": HOW})
    assert (human.status_code, human.json()["code"]) == (409, "seat_is_human")
    stranger = voter(convene())
    assert api.post(address(session, stranger), {"question": HOW}).status_code == 404
    for blank in ("", "\u200b"):
        empty = api.post(address(session, voter(session)), {"question": blank})
        assert (empty.status_code, empty.json()["errors"][0]["pointer"]) == (400, "/question")
    assert not Message.objects.exists()


def test_two_who_ask_at_once_both_get_a_turn(user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    gate = threading.Barrier(2)

    def ask() -> None:
        gate.wait()
        try:
            asides.ask(user, session.pk, voter(session).pk, HOW)
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Turn.objects.filter(kind="reply").values_list("ordinal", flat=True)) == [0, 1]
    work(session)
    assert set(Turn.objects.filter(kind="reply").values_list("status", flat=True)) == {"completed"}


def test_minutes_and_record_have_it(user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    asides.ask(user, session.pk, voter(session).pk, HOW)
    work(session)
    turn = reply_turn(session)
    assert turn.result is not None
    whole = json.loads(export(session, "json").content)
    kinds: dict[str, Any] = {one["kind"]: one for round_ in whole["runs"][0]["rounds"] for one in round_["turns"]}
    assert kinds["reply"]["result"] == turn.result
    minutes = export(session, "md").content.decode()
    assert f"Asked: {HOW}" in minutes
    assert turn.result["reply"]["text"].split("[")[0][:40].strip() in minutes


def test_a_question_to_one_seat_is_no_message_to_the_council(user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    asides.ask(user, session.pk, voter(session).pk, HOW)
    assert selectors.session_for(user, session.pk).status == "completed"
    assert SessionEvent.objects.filter(stream=session, type="message.created").count() == 1
    with pytest.raises(IllegalState):
        services.start(user, session.pk)  # nothing new was said to the council


def test_small_models_reply_as_well(user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    Seat.objects.filter(pk=voter(session).pk).update(model="fake-135m")  # asked one short question at a time
    asides.ask(user, session.pk, voter(session).pk, HOW)
    work(session)
    turn = reply_turn(session)
    assert turn.result is not None
    assert (turn.status, turn.result["reply"]["question"]) == ("completed", HOW)
