"""Seats that search the packs themselves: whole councils over a real database and real HTTP."""

from __future__ import annotations

import json
from threading import Timer
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from accounts.models import User
from council import evidence, services
from council.export import export
from council.export.record import record
from council.export.schema import schema
from council.models import Budget, CouncilSession, LlmCall, Turn
from council.profiles import save_profile
from knowledge import services as knowledge
from knowledge.models import KnowledgePack
from knowledge.services import sharing
from tests.support.councils import Convene, conclude, run_one, work
from tests.support.fake_openai import FakeModelServer

pytestmark = pytest.mark.django_db(transaction=True)

QUESTION = "Why does the night ferry of Fernhaven wait in winter?"
TEXTS = (
    "The night ferry of Fernhaven waits in winter because the harbour mouth silts up after every storm.",
    "In winter the night ferry carried 412 passengers a week, half of what was expected.",
    "The ferry company of Fernhaven owns one boat and employs a crew of eleven people.",
    "Winter storms close the harbour of Fernhaven on one day in five.",
)


@pytest.fixture
def pack(user: User) -> KnowledgePack:
    pack = knowledge.create_pack(user, name="Ferries")
    knowledge.add_entries(pack, user, [{"title": f"Ferry {n}", "content": text} for n, text in enumerate(TEXTS)])
    return pack


@pytest.fixture
def convened(convene: Convene, pack: KnowledgePack, settings: LazySettings) -> Convene:
    """Three voters and a chair whose models can call tools; a protocol of two searches unless the test says otherwise."""
    settings.LLM_TOOLS = True

    def make(model: str = "fake-tools-2", **plan: Any) -> CouncilSession:
        protocol = {"searches": 2, "agree_at": 1.0} | plan.pop("protocol", {})
        plan = {"question": QUESTION, "options": ["Silt", "Crew"], "packs": [pack.pk]} | plan
        models = (f"{model}-a", f"{model}-b", f"{model}-c", model)
        return convene(models, protocol=protocol, **plan)

    return make


def answers(session: CouncilSession) -> list[Turn]:
    return list(Turn.objects.filter(session=session, kind="answer").order_by("round__number", "seat__position"))


def test_each_seat_searches_for_itself_and_cites_what_it_found(user: User, convened: Convene) -> None:
    session = conclude(user, convened())
    assert session.status == "completed"
    for turn in answers(session):
        assert turn.result is not None
        made = turn.result["searches"]
        assert [one["k"] for one in made] == [3, 3]
        assert made[0]["query"] == QUESTION != made[1]["query"]
        shown = {item["n"]: item["revision"] for item in turn.evidence}
        assert {found["n"]: found["revision"] for one in made for found in one["found"]} == shown
        assert list(shown) == list(range(1, len(shown) + 1))
        assert turn.result["citations"][0]["status"] == "verified"


def test_the_first_prompt_holds_no_passages_and_every_call_is_recorded(user: User, convened: Convene) -> None:
    session = conclude(user, convened())
    first, second, third = LlmCall.objects.filter(turn=answers(session)[0]).order_by("ordinal")
    assert "evidence [1]" not in first.user
    assert first.response.startswith("search_packs(")
    assert "evidence [1]" in second.user
    assert first.response in second.user
    assert third.response.startswith("{")
    used = Budget.objects.get(session=session)
    assert used.calls == LlmCall.objects.filter(session=session).count()
    assert used.tokens_reserved == used.calls_reserved == 0


def test_a_debate_and_an_attack_search_on_behind_what_was_found_before(user: User, convened: Convene) -> None:
    session = conclude(user, convened(protocol={"preset": "red-team", "searches": 1}))
    for kind in ("answer", "attack"):
        turn = Turn.objects.filter(session=session, kind=kind).order_by("-round__number").first()
        assert turn is not None
        assert turn.result is not None
        assert len(turn.result["searches"]) == 1
        numbers = [item["n"] for item in turn.evidence]
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_model_that_answers_without_searching_is_fine_and_counts_as_ungrounded(
    user: User, convened: Convene, fake: FakeModelServer
) -> None:
    session = conclude(user, convened("fake-option-1", protocol={"preset": "debate", "agree_at": 0.6}))
    assert session.status == "completed"
    # Two rounds of three: they agree at once, but on nothing that they read, so the debate is held.
    assert [turn.result["searches"] for turn in answers(session) if turn.result] == [[]] * 6


def test_without_packs_or_searches_everything_is_as_it_was(
    user: User, convened: Convene, fake: FakeModelServer
) -> None:
    plans: list[dict[str, Any]] = [{"packs": []}, {"protocol": {"searches": 0}}, {"protocol": {"evidence_k": 0}}]
    for plan in plans:
        session = conclude(user, convened(**plan))
        assert session.status == "completed"
        assert all("searches" not in turn.result for turn in answers(session) if turn.result)
    assert not any(request.body.get("tools") for request in fake.requests)


def test_by_default_no_tools_are_offered(
    user: User, convened: Convene, settings: LazySettings, fake: FakeModelServer
) -> None:
    settings.LLM_TOOLS = False
    session = conclude(user, convened())
    assert all(turn.evidence for turn in answers(session))
    assert not any(request.body.get("tools") for request in fake.requests)


def test_a_ballot_is_asked_without_tools_and_a_call_there_is_no_vote(
    user: User, convened: Convene, fake: FakeModelServer
) -> None:
    session = conclude(user, convened("fake-tools-uninvited"))
    calls = LlmCall.objects.filter(session=session, field="ballot")
    assert calls
    assert all(call.response.startswith("search_packs(") for call in calls)
    assert {turn.error for turn in Turn.objects.filter(session=session, kind="ballot")} == {"tool_misuse"}
    assert not any(request.body.get("tools") for request in fake.requests if "secret ballot" in str(request.body))


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("fake-tools-endless", "tool_misuse"),
        ("fake-tools-9-strange", "tool_misuse"),
        ("fake-tools-9-badjson", "tool_misuse"),
        ("fake-tools-9-huge", "tool_misuse"),
    ],
)
def test_a_model_that_only_misuses_tools_fails_its_attempt(
    user: User, convened: Convene, model: str, error: str
) -> None:
    session = convened(model)
    services.start(user, session.pk)
    turn = answers(session)[0]
    run_one(turn)
    turn.refresh_from_db()
    assert (turn.status, turn.error, turn.model_errors) == ("pending", error, 1)
    assert LlmCall.objects.filter(turn=turn).count() <= 2 + 3
    assert not LlmCall.objects.filter(turn=turn, status="running").exists()


@pytest.mark.parametrize("misuse", ["strange", "badjson", "huge"])
def test_some_misuse_costs_a_seat_nothing(user: User, convened: Convene, misuse: str) -> None:
    session = conclude(user, convened(f"fake-tools-2-{misuse}"))
    assert session.status == "completed"
    assert all(turn.result["searches"] == [] and turn.attempt == 1 for turn in answers(session) if turn.result)


def test_a_server_that_refuses_tools_is_given_a_prefetch_within_the_attempt(
    user: User, convened: Convene, fake: FakeModelServer
) -> None:
    fake.set_rules({"unsupported": ["tools"]})
    session = conclude(user, convened("fake-tools-2-refused"))
    assert session.status == "completed"
    for turn in answers(session):
        assert turn.attempt == 1
        assert turn.model_errors == 0
        assert turn.evidence
        refused, answered = LlmCall.objects.filter(turn=turn).order_by("ordinal")
        assert (refused.error, refused.prompt_tokens, answered.status) == ("tools_refused", 0, "ok")
    before = len(fake.requests)
    conclude(user, convened("fake-tools-2-refused"))
    assert not any(request.body.get("tools") for request in fake.requests[before:])


def test_a_fallback_without_tools_is_given_a_prefetch(
    user: User, convened: Convene, fake: FakeModelServer, settings: LazySettings
) -> None:
    settings.LLM_PRIVATE_NETWORKS = ["127.0.0.0/8"]
    plain = save_profile("plain", {"base_url": fake.url, "model": "fake"})
    save_profile("able", {"base_url": fake.url, "model": "fake-500", "tools": True, "fallback": plain})
    session = convened()
    session.seats.update(model="able")
    conclude(user, session)
    for turn in answers(session):
        assert turn.evidence
        assert "searches" not in (turn.result or {})


def test_a_profile_with_tools_searches_through_anthropics_door(
    user: User, convened: Convene, fake: FakeModelServer, settings: LazySettings
) -> None:
    settings.LLM_PRIVATE_NETWORKS = ["127.0.0.0/8"]
    values = {"provider": "anthropic", "base_url": fake.root, "model": "fake-tools-2", "tools": True}
    save_profile("claude", values)
    session = convened()
    session.seats.update(model="claude")
    conclude(user, session)
    assert session.status == "completed"
    assert all(len(turn.result["searches"]) == 2 for turn in answers(session) if turn.result)


def test_budgets_hold_between_the_calls_of_a_turn(user: User, convened: Convene) -> None:
    session = convened(budget={"calls": 4})
    conclude(user, session)
    used = Budget.objects.get(session=session)
    assert used.calls == 4
    assert used.calls_reserved == 0
    assert CouncilSession.objects.get(pk=session.pk).reason == "budget"


def test_a_stop_between_a_search_and_the_answer_leaves_nothing(user: User, convened: Convene) -> None:
    session = convened("fake-tools-1-latency-150")
    services.start(user, session.pk)

    def stop() -> None:
        services.stop(user, session.pk)
        connection.close()

    stopper = Timer(0.22, stop)
    stopper.start()
    work(session, limit=1)
    stopper.join()
    session.refresh_from_db()
    assert session.status == "stopped"
    assert all(turn.result is None for turn in answers(session))
    assert not LlmCall.objects.filter(session=session, status="running").exists()


# --- what it can reach ------------------------------------------------------------------------------------------------


def test_no_call_reaches_a_pack_outside_of_the_session(
    user: User, other_user: User, convened: Convene, fake: FakeModelServer
) -> None:
    for owner in (user, other_user):
        hidden = knowledge.create_pack(owner, name="Hidden")
        knowledge.add_entries(hidden, owner, [{"title": "Night ferry", "content": "SECRET: the night ferry waits."}])
        for pack in (2, str(hidden.pk), "Hidden"):
            arguments = json.dumps({"query": "SECRET night ferry", "pack": pack})
            fake.set_rules({"call": {"name": "search_packs", "arguments": arguments}})
            conclude(user, convened())
    fake.set_rules({"call": {"name": "search_packs", "arguments": '{"query": "SECRET night ferry"}'}})
    conclude(user, convened())
    assert not LlmCall.objects.filter(user__contains="SECRET: the").exists()
    assert all("SECRET: the" not in json.dumps(turn.evidence) for turn in Turn.objects.all())


def test_a_share_that_was_taken_back_ends_the_searches(
    user: User, other_user: User, convened: Convene, pack: KnowledgePack
) -> None:
    theirs = knowledge.create_pack(other_user, name="Shared")
    knowledge.add_entries(theirs, other_user, [{"title": "Ferry", "content": "The ferry waits for the tide."}])
    shared, _ = sharing.share(theirs.pk, other_user, user.email, "viewer")
    session = convened(packs=[theirs.pk])
    services.start(user, session.pk)
    sharing.unshare(theirs.pk, shared.pk)
    work(session)
    assert all(turn.evidence == [] for turn in answers(session))


def test_a_named_pack_is_searched_alone(
    user: User, convened: Convene, pack: KnowledgePack, fake: FakeModelServer
) -> None:
    second = knowledge.create_pack(user, name="Boats")
    knowledge.add_entries(second, user, [{"title": "Boat", "content": "The night ferry is a boat of 1962."}])
    session = convened(packs=[pack.pk, second.pk])
    number = [one.name for one in evidence.searchable(session.pk)].index("Boats") + 1
    arguments = json.dumps({"query": "night ferry winter", "pack": number})
    fake.set_rules({"call": {"name": "search_packs", "arguments": arguments}})
    conclude(user, session)
    for turn in answers(session):
        assert {item["pack"] for item in turn.evidence} == {"Boats"}


# --- the record -------------------------------------------------------------------------------------------------------


def test_the_record_keeps_the_searches(user: User, convened: Convene) -> None:
    session = conclude(user, convened())
    written = record(session, prompts=True)
    Draft202012Validator(schema()).validate(written)
    turn = next(turn for turn in written["runs"][0]["rounds"][0]["turns"] if turn["seat"])
    assert turn["result"]["searches"][0]["query"] == QUESTION
    for form in ("md", "html"):
        assert "Searched for" in export(session, form).content.decode()
