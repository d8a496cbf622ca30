"""Seats that are people's: what they are shown, what they may say, and that nobody reads an open round in which they sit."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import User
from council import claims, effective, people, profiles, services, sweeper
from council.claims_table import claims_of
from council.export.minutes import minutes
from council.export.record import record
from council.models import CouncilSession, Decision, LlmCall, Run, SessionEvent, Turn
from council.recount import recount
from knowledge.services import add_entry, create_pack
from realtime.errors import IllegalState, InvalidInput
from tests.conftest import Api
from tests.council.test_snapshot import events, snapshot
from tests.support.councils import Convene, run, work
from tests.support.fake_openai import FakeModelServer
from tests.support.reducer import reduce

pytestmark = pytest.mark.django_db(transaction=True)

MIXED = ("fake-option-1", "fake-option-2", "human", "fake")
SECRET = "zanzibar"  # what a model says in a blind round, and nobody may read
RANKING = r'"ranking": ?\['
SAYS: dict[str, Any] = {
    "answer": "Both, each where it is due.", "option": "Both", "claims": [], "confidence": 0.9, "would_change": "A study.",
}  # fmt: skip


def begin(user: User, session: CouncilSession) -> CouncilSession:
    services.start(user, session.pk)
    return work(session)


def path(session: CouncilSession, turn: Turn | None = None) -> str:
    base = f"/api/council-sessions/{session.pk}/turns"
    return f"{base}/{turn.pk}" if turn else base


def waiting(user: User, session: CouncilSession) -> Turn:
    [turn] = people.waiting(user, session.pk)
    return turn


def answer(user: User, session: CouncilSession, body: dict[str, Any]) -> CouncilSession:
    people.reply(user, session.pk, waiting(user, session).pk, body)
    return work(session)


def vote(labels: list[str]) -> dict[str, Any]:
    return {"ranking": labels, "scores": {label: 9 - place for place, label in enumerate(labels)}, "abstain": False}


def everything(session: CouncilSession, api: Api, page: Client) -> str:
    """All that anybody may read of a session, in one text."""
    base = f"/api/council-sessions/{session.pk}"
    exports = [f"{base}/export?format={kind}" for kind in ("json&prompts=true", "md", "html")]
    routes = [
        base,
        f"{base}/events?limit=500",
        f"{base}/claims",
        f"{base}/turns",
        f"{base}/turns?waiting=true",
        *exports,
    ]
    pages = [f"/councils/{session.pk}", f"/councils/{session.pk}/claims"]
    pages.append(f"/admin/council/councilsession/{session.pk}/change/")
    calls = LlmCall.objects.filter(session=session).values_list("pk", flat=True)
    pages += [f"/admin/council/llmcall/{call}/change/" for call in calls]
    answers = [*map(api.get, routes), *map(page.get, pages)]
    assert {answer.status_code for answer in answers} == {200}
    parts = [answer.content.decode() for answer in answers]
    parts.append(json.dumps(snapshot(session), cls=DjangoJSONEncoder))
    return "\n".join(parts)


@pytest.fixture
def staff(user: User) -> Client:
    user.is_staff = user.is_superuser = True
    user.save()
    client = Client()
    client.force_login(user)
    return client


# --- from beginning to end --------------------------------------------------------------------------------------------


def test_two_models_and_a_person_decide_through_the_api(user: User, api: Api, convene: Convene) -> None:
    session = begin(user, convene(MIXED))
    [listed] = api.get(path(session) + "?waiting=true").json()["results"]
    assert (listed["kind"], listed["status"], listed["human"]) == ("answer", "pending", True)
    shown = api.get(f"{path(session)}/{listed['turn']}").json()
    assert shown["context"]["question"] == "Tabs or spaces?"
    assert sorted(shown["expects"]["properties"]["option"]["enum"]) == ["Both", "Spaces", "Tabs"]
    answered = api.post(f"{path(session)}/{listed['turn']}", SAYS)
    assert (answered.status_code, answered.json()["status"], answered.json()["person"]) == (
        200,
        "completed",
        str(user.pk),
    )
    assert answered.json()["result"]["answer"]["option"] == "Both"  # it was the last: the round is closed
    assert work(session).status == "running"
    [ballot] = api.get(path(session) + "?waiting=true").json()["results"]
    assert ballot["kind"] == "ballot"
    labels = api.get(f"{path(session)}/{ballot['turn']}").json()["expects"]["properties"]["scores"]["required"]
    assert api.post(f"{path(session)}/{ballot['turn']}", vote(labels)).status_code == 200
    work(session)
    while people.waiting(user, session.pk):  # it dissents where the models had their way
        answer(user, session, {"text": "I would rather have had both."})
    assert work(session).status == "completed"
    assert Decision.objects.get(run__session=session).missing == []
    found = recount(session)
    assert (found["agrees"], found["people"]) == (True, ["Seat 3"])


@pytest.mark.parametrize("protocol", [{"preset": "debate"}, {"preset": "red-team", "stages": [
    "opening", "attack", "debate", "ballot", "synthesis", "ratify"]}])  # fmt: skip
def test_every_kind_of_turn_can_be_a_persons(user: User, convene: Convene, protocol: dict[str, Any]) -> None:
    session = begin(
        user, convene(("fake-option-1", "fake-option-1", "human", "fake"), protocol={**protocol, "rule": "majority"})
    )
    kinds = set()
    while session.status == "running":
        for turn in people.waiting(user, session.pk):
            shown = people.turn_detail(user, session.pk, turn.pk)
            kinds.add(turn.kind)
            people.reply(user, session.pk, turn.pk, reply_to(shown))
        work(session)
    assert session.status == "completed"
    assert kinds >= {"answer", "ballot", "dissent"} | ({"attack", "ratify"} if "stages" in protocol else set())
    assert recount(session)["agrees"]


def reply_to(shown: dict[str, Any]) -> dict[str, Any]:
    """As ``expects`` asks for it."""
    wanted = shown["expects"]["properties"]
    known: dict[str, Callable[[], Any]] = {
        "option": lambda: "Tabs", "ranking": lambda: wanted["scores"]["required"], "accept": lambda: True,
        "scores": lambda: dict.fromkeys(wanted["scores"]["required"], 5), "confidence": lambda: 0.5, "changed": lambda: False,
        "abstain": lambda: False, "claims": list, "questions": list,
        "replies": lambda: [{"question": n, "text": "So it is."} for n in wanted["replies"]["items"]["properties"]["question"]["enum"]],
    }  # fmt: skip
    return {name: known[name]() if name in known else "Because of the diffs." for name in wanted}


def test_the_record_says_that_a_seat_was_a_persons(user: User, convene: Convene) -> None:
    session = begin(user, convene(MIXED))
    answer(user, session, SAYS)
    kept = record(session)
    [given] = [turn for turn in kept["runs"][0]["rounds"][0]["turns"] if turn["person"]]
    assert (given["person"], given["result"]["answer"]["option"]) == (str(user.pk), "Both")
    assert [seat["sits"] for seat in minutes(kept)["seats"]] == [
        "on fake-option-1",
        "on fake-option-2",
        "a person",
        "on fake",
    ]


# --- what workers leave alone -----------------------------------------------------------------------------------------


def test_no_worker_gets_a_persons_turn(user: User, convene: Convene) -> None:
    session = begin(user, convene(MIXED))
    turn = waiting(user, session)
    assert claims.claim(session.pk, [turn.pk], "test").claims == []
    Turn.objects.filter(pk=turn.pk).update(dispatched_at=timezone.now() - timedelta(hours=1))
    run(session, [turn])
    assert sweeper.sweep() == dict.fromkeys(sweeper.sweep(), 0)
    turn.refresh_from_db()
    assert (turn.status, turn.attempt) == ("pending", 0)
    assert not LlmCall.objects.filter(turn=turn).exists()


def test_waiting_for_a_person_comes_on_top_of_the_runs_time(user: User, convene: Convene) -> None:
    session = begin(user, convene(MIXED, protocol={"human_deadline_s": 5000, "run_deadline_s": 60}))
    deadline = waiting(user, session).deadline_at
    left = Run.objects.get(session=session).deadline_at
    assert deadline is not None
    assert timezone.now() + timedelta(seconds=4900) < deadline < left < timezone.now() + timedelta(seconds=5060)


# --- deadlines, stops and second answers ------------------------------------------------------------------------------


def test_a_person_who_misses_a_deadline_is_absent_from_then_on(user: User, api: Api, convene: Convene) -> None:
    session = begin(user, convene(MIXED))
    turn = waiting(user, session)
    Turn.objects.filter(pk=turn.pk).update(deadline_at=timezone.now())
    late = api.post(path(session, turn), SAYS)
    assert (late.status_code, late.json()["code"]) == (409, "deadline_passed")
    assert sweeper.sweep()["deadlines"] == 1
    assert work(session).status == "completed"
    assert not Turn.objects.filter(session=session, seat=turn.seat).exclude(pk=turn.pk).exists()
    [missing] = Decision.objects.get(run__session=session).missing
    assert (missing["name"], missing["stage"], missing["error"]) == ("Seat 3", "opening", "deadline")


def test_a_turn_is_answered_once(user: User, api: Api, convene: Convene) -> None:
    session = begin(user, convene(MIXED))
    turn = waiting(user, session)
    assert api.post(path(session, turn), SAYS).status_code == 200
    again = api.post(path(session, turn), SAYS)
    assert (again.status_code, again.json()["code"]) == (409, "turn_over")
    over = api.get(path(session, turn)).json()
    assert (over["status"], over["context"], over["expects"]) == ("completed", None, None)


@pytest.mark.parametrize("first", ["answer", "stop", "deadline"])
def test_whoever_has_the_lock_first_decides(user: User, convene: Convene, first: str) -> None:
    """Two connections: the one waits for the session's row while the other goes through."""
    session = begin(user, convene(MIXED))
    turn = waiting(user, session)
    came: list[Any] = []

    def second() -> None:
        try:
            came.append(act("answer" if first != "answer" else "stop"))
        except IllegalState as error:
            came.append(error.code)
        finally:
            connection.close()

    def act(what: str) -> object:
        if what == "answer":
            return people.reply(user, session.pk, turn.pk, SAYS).status
        if what == "stop":
            return services.stop(user, session.pk).status
        Turn.objects.filter(pk=turn.pk).update(deadline_at=timezone.now())
        return sweeper.sweep()["deadlines"]

    thread = threading.Thread(target=second)
    with transaction.atomic():
        claims.lock_session(session.pk)
        people.open_sheet(turn)
        thread.start()
        thread.join(timeout=0.4)
        assert thread.is_alive()  # it waits for the lock
        act(first)
    thread.join(timeout=10)
    turn.refresh_from_db()
    expected = {
        "answer": ("completed", "stopped"),
        "stop": ("cancelled", "turn_over"),
        "deadline": ("failed", "deadline_passed"),
    }
    assert (turn.status, came[0]) == expected[first]
    told = SessionEvent.objects.filter(stream=session, payload__turn=str(turn.pk)).values_list("type", flat=True)
    assert [kind for kind in told if kind != "turn.started"] == [f"turn.{turn.status}"]


# --- what a reply is held to ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({**SAYS, "option": "Neither"}, "/option", "unknown_candidate"),
        ({**SAYS, "confidence": 7.5}, "/confidence", "wrong_schema"),
        ({**SAYS, "answer": " "}, "/answer", "empty"),
        ({**SAYS, "claims": [{"evidence": [1]}]}, "/claims/0/text", "wrong_schema"),
        ({**SAYS, "answer": "x" * 20_001}, "/answer", "bad_reply"),
        ([], "", "bad_reply"),
        ({}, "", "bad_reply"),
    ],
)
def test_a_reply_that_is_no_turn_is_refused_and_nothing_is_lost(
    user: User, api: Api, convene: Convene, body: Any, pointer: str, code: str
) -> None:
    session = begin(user, convene(MIXED))
    turn = waiting(user, session)
    before = snapshot(session)
    refused = api.post(path(session, turn), body)
    assert (refused.status_code, refused.json()["code"]) == (400, code)
    assert [one["pointer"] for one in refused.json()["errors"]] == [pointer]
    assert snapshot(session) == before
    assert waiting(user, session) == turn


def test_a_person_may_begin_with_sorry(user: User, convene: Convene) -> None:
    session = begin(user, convene(MIXED))
    sorry = {**SAYS, "answer": "Sorry, but I can't recommend tabs alone."}
    assert people.reply(user, session.pk, waiting(user, session).pk, sorry).status == "completed"


def test_evidence_is_searched_for_once_and_its_numbers_hold(user: User, api: Api, convene: Convene) -> None:
    pack = create_pack(user, name="Style")
    add_entry(pack, user, {"title": "Tabs", "content": "Tabs or spaces: in 2019 tabs were used by 41 of 100 teams."})
    session = begin(user, convene(MIXED, packs=[pack.pk]))
    turn = waiting(user, session)
    first = api.get(path(session, turn)).json()["context"]["evidence"]
    add_entry(pack, user, {"title": "Spaces", "content": "Tabs or spaces? Spaces, or tabs, or spaces: tabs or spaces."})
    assert api.get(path(session, turn)).json()["context"]["evidence"] == first
    cited = {**SAYS, "answer": "In 2019 tabs were used by 41 of 100 teams [1]. Spaces are loved by all teams [9]."}
    assert api.post(path(session, turn), cited).status_code == 200
    turn.refresh_from_db()
    assert [one["n"] for one in turn.evidence] == [one["n"] for one in first] == [1]
    assert [(one["n"], one["status"]) for one in (turn.result or {})["citations"]] == [(1, "verified"), (9, "missing")]


def test_a_person_sees_no_more_than_a_model_would(user: User, convene: Convene) -> None:
    session = begin(user, convene(MIXED, protocol={"preset": "debate", "agree_at": 1.0}))
    answer(user, session, SAYS)
    shown = people.turn_detail(user, session.pk, waiting(user, session).pk)["context"]
    assert (shown["stage"], len(shown["others"]), shown["own"]["option"]) == ("debate", 2, "Both")
    text = json.dumps(shown)
    assert not any(hidden in text for hidden in ("Seat 1", "Seat 2", "fake-option"))


def test_a_person_is_not_told_whom_its_own_question_reached(user: User, convene: Convene) -> None:
    session = begin(user, convene(MIXED, protocol={"preset": "debate", "rounds": 2, "agree_at": 1.0}))
    answer(user, session, {**SAYS, "option": "Tabs"})
    asks = [{"to": "A", "text": "What of the diffs?"}]
    answer(user, session, {**SAYS, "option": "Tabs", "changed": False, "because": "", "questions": asks})
    [given] = Turn.objects.filter(session=session, round__number=2, human=True)
    assert (given.result or {})["answer"]["questions"][0]["seat"]
    shown = people.turn_detail(user, session.pk, waiting(user, session).pk)["context"]
    assert (shown["stage"], shown["own"]["questions"][0]["seat"]) == ("debate", None)
    answer(user, session, {**SAYS, "option": "Tabs", "changed": False, "because": ""})
    ballot = json.dumps(people.turn_detail(user, session.pk, waiting(user, session).pk)["context"])
    others = session.seats.exclude(model="human").values_list("pk", flat=True)
    assert not any(str(seat) in ballot for seat in others)


# --- sealing ----------------------------------------------------------------------------------------------------------


def test_nothing_of_an_open_round_can_be_read_while_a_person_sits_in_it(
    user: User, api: Api, staff: Client, convene: Convene, fake: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr("council.live.nudge.publish_delta", lambda *_, **delta: sent.append(delta["text"]))
    claim = {"text": f"{SECRET} is indented with tabs.", "evidence": []}
    said = {**SAYS, "answer": f"{SECRET} has spoken.", "option": "Tabs", "claims": [claim]}
    slowly = {"token_delay_s": 0.005}  # longer than text is gathered for
    fake.set_rules({"contains": "Choose exactly one", "reply": json.dumps(said), **slowly})
    session = begin(user, convene(MIXED))
    assert Turn.objects.filter(session=session, status="completed", kind="answer").count() == 2
    assert SECRET not in everything(session, api, staff)
    assert claims_of(session)["claims"] == []
    assert sent == []
    answer(user, session, SAYS)
    assert SECRET in everything(session, api, staff)
    closed = SessionEvent.objects.filter(stream=session, type="round.closed").order_by("seq")[0]
    assert [turn["result"]["answer"]["option"] for turn in closed.payload["turns"]] == ["Tabs", "Tabs", "Both"]


@pytest.mark.forges
def test_an_answer_that_was_sealed_and_changed_later_is_noticed(user: User, convene: Convene) -> None:
    """The log has it from the moment at which it was opened."""
    session = answer(user, begin(user, convene(MIXED, protocol={"preset": "poll"})), SAYS)
    assert recount(session)["agrees"]
    turn = Turn.objects.get(session=session, human=True)
    said = {
        **(turn.result or {}),
        "citations": [],
        "answer": {**(turn.result or {})["answer"], "would_change": "Nothing."},
    }
    Turn.objects.filter(pk=turn.pk).update(result=said)
    assert [one["field"] for one in recount(session)["differences"]] == ["answer as logged"]


def test_ballots_stay_sealed_while_a_person_has_not_voted(
    user: User, api: Api, staff: Client, convene: Convene
) -> None:
    """Nor are they counted before: whether a person has begun to vote nobody knows."""
    session = answer(user, begin(user, convene(MIXED, protocol={"rule": "majority"})), SAYS)
    assert Turn.objects.filter(session=session, kind="ballot", status="completed").count() == 2
    turn = waiting(user, session)
    assert turn.kind == "ballot"
    round_ = snapshot(session)["rounds"][-1]
    assert (round_["ballots"], round_["closed_at"]) == ([], None)
    assert not re.search(RANKING, everything(session, api, staff))
    answer(
        user,
        session,
        vote(people.turn_detail(user, session.pk, turn.pk)["expects"]["properties"]["scores"]["required"]),
    )
    assert re.search(RANKING, everything(session, api, staff))


def test_a_council_of_models_is_watched_as_before(user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    work(session, limit=1)
    told = SessionEvent.objects.filter(stream=session, type="turn.completed", payload__kind="answer")
    assert all(event.payload["result"]["answer"] for event in told)
    work(session)
    assert not SessionEvent.objects.filter(stream=session, type="round.closed", payload__has_key="turns").exists()


def test_a_stopped_round_is_opened(user: User, convene: Convene) -> None:
    session = begin(user, convene(MIXED))
    services.stop(user, session.pk)
    assert [bool(turn["result"]) for turn in snapshot(session)["rounds"][0]["turns"]] == [True, True, False]


def test_every_snapshot_and_what_follows_gives_the_last(user: User, convene: Convene) -> None:
    session = convene(MIXED, protocol={"preset": "debate", "gate": "before_synthesis"})
    taken = [snapshot(session)]
    services.start(user, session.pk)
    for _ in range(60):
        work(session, limit=1)
        taken.append(snapshot(session))
        if session.status != "running":
            break
        for turn in people.waiting(user, session.pk):
            if turn.kind == "gate":
                services_gate(user, session)
            else:
                people.reply(user, session.pk, turn.pk, reply_to(people.turn_detail(user, session.pk, turn.pk)))
            taken.append(snapshot(session))
    last = snapshot(session)
    assert last["session"]["status"] == "completed"
    for early in taken:
        built = reduce(early, events(session, early["last_seq"]))
        for round_ in built["rounds"]:
            round_["turns"].sort(key=lambda turn: turn["turn"])
        assert built == last


def services_gate(user: User, session: CouncilSession) -> None:
    people.decide_gate(user, session.pk, decision="approve", note="Mind the Makefile.")


# --- who may sit where ------------------------------------------------------------------------------------------------


def test_a_person_cannot_be_the_chair(convene: Convene) -> None:
    with pytest.raises(InvalidInput) as refused:
        convene(("fake", "fake", "human"))
    assert [one["pointer"] for one in refused.value.errors] == ["/agents/2/model"]


def test_no_profile_takes_the_name(db: None) -> None:
    with pytest.raises(InvalidInput) as refused:
        profiles.save_profile("human", {"base_url": "https://models.example.org/v1", "model": "x"})
    assert refused.value.errors[0]["pointer"] == "/slug"


def test_a_person_has_no_price_and_no_family(user: User, convene: Convene, settings: Any) -> None:
    settings.LLM_PRICE_IN = settings.LLM_PRICE_OUT = "1.0"
    session = convene(("", "", "human", ""), budget={"usd": "1.0"})
    shown = snapshot(session)["session"]["warnings"]
    assert shown == [("All 2 voting seats that are models are on the default model: they err together, and agree more than "
                     "independent voters would.")]  # fmt: skip
    assert effective.for_owner(user, session)["seats"] == 2


def test_another_users_turns_do_not_exist(user: User, other_api: Api, convene: Convene) -> None:
    session = begin(user, convene(MIXED))
    turn = waiting(user, session)
    assert {other_api.get(path(session)).status_code, other_api.get(path(session, turn)).status_code} == {404}
    assert other_api.post(path(session, turn), SAYS).status_code == 404
    model = Turn.objects.filter(session=session, human=False)[0]
    with pytest.raises(Exception, match="No such turn"):
        people.reply(user, session.pk, model.pk, SAYS)
