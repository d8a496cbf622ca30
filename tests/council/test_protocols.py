"""Protocols over a real database and a model server over HTTP: what each preset does, and what passes between seats."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.test import Client

from accounts.models import User
from council import selectors, services, templates
from council.models import CouncilSession, Decision, LlmCall, SessionEvent, TemplateVersion, Turn
from council.recount import recount
from knowledge import services as knowledge
from realtime.errors import IllegalState, InvalidInput
from tests.conftest import Api
from tests.council.test_snapshot import events, snapshot
from tests.support import blindness
from tests.support.councils import Convene, conclude, pending, run, work
from tests.support.fake_openai import FakeModelServer
from tests.support.reducer import reduce

pytestmark = pytest.mark.django_db(transaction=True)
OPEN: dict[str, Any] = {"options": [], "question": "How should we store the backups of the old archive?"}
SAYS = {"claims": [], "confidence": 0.7, "would_change": "A failed restore."}


def stages(session: CouncilSession) -> list[str]:
    return list(session.runs.latest("number").rounds.values_list("stage", flat=True))


def decision_of(session: CouncilSession) -> Decision:
    return Decision.objects.get(run__session=session)


def prompts(session: CouncilSession, kind: str, number: int) -> list[str]:
    calls = LlmCall.objects.filter(session=session, turn__kind=kind, turn__round__number=number)
    return list(calls.order_by("turn__seat__position").values_list("user", flat=True))


def answering(fake: FakeModelServer, texts: dict[str, str]) -> None:
    """Seats answer word for word, by model; ballots and the rest stay the fake's own."""
    rules: list[Any] = [
        {"model": model, "contains": "Answer the question", "reply": json.dumps({"answer": text, **SAYS})}
        for model, text in texts.items()
    ]
    fake.set_rules(*rules)


# --- presets ----------------------------------------------------------------------------------------------------------


def test_a_poll_ends_with_its_count(user: User, convene: Convene) -> None:
    session = conclude(
        user, convene(("fake-option-1", "fake-option-1", "fake-option-2", "fake"), protocol={"preset": "poll"})
    )
    assert (session.status, stages(session)) == ("completed", ["opening"])
    decision = decision_of(session)
    assert (decision.outcome, decision.source, decision.notes) == ("decided", "verbatim", [])
    assert recount(session)["agrees"]


def test_a_poll_without_a_winner_delivers_what_stands_and_the_crux(user: User, convene: Convene) -> None:
    decision = decision_of(conclude(user, convene(protocol={"preset": "poll", "rule": "majority"})))
    assert decision.outcome == "no_consensus"
    assert all(f"- {option} (1 of 3)" in decision.answer for option in ("Tabs", "Spaces", "Both"))
    assert "What would decide between them:" in decision.answer


def test_a_delphi_feeds_the_distribution_back_until_it_rests(user: User, convene: Convene) -> None:
    protocol = {"preset": "delphi", "estimate": {"unit": "days", "low": 0, "high": 200}}
    models = (
        "fake-estimate-10",
        "fake-estimate-20",
        "fake-estimate-20",
        "fake-estimate-30",
        "fake-estimate-90",
        "fake",
    )
    session = conclude(user, convene(models, **{**OPEN, "protocol": protocol}))
    assert stages(session) == ["opening", "debate", "synthesis"]  # nobody moved: the quartiles rest
    decision = decision_of(session)
    assert decision.decided_by == "estimates"
    assert decision.agreement["estimates"]["final"] == {
        "n": 5, "low": 10.0, "q1": 20.0, "median": 20.0, "q3": 30.0, "high": 90.0,
    }  # fmt: skip
    assert len(decision.dissent) == 2
    assert all(
        "5 estimates. Median: 20 days. Middle half: 20 days to 30 days." in one for one in prompts(session, "answer", 2)
    )
    assert not any("estimates. Median" in one for one in prompts(session, "answer", 1))
    assert recount(session)["agrees"]


def test_a_red_team_attacks_the_leading_answer_and_the_debate_hears_it(user: User, convene: Convene) -> None:
    models = ("fake-option-1", "fake-option-1", "fake-option-1", "fake")
    session = conclude(user, convene(models, protocol={"preset": "red-team"}))
    assert stages(session) == ["opening", "attack", "debate", "synthesis"]
    attack = Turn.objects.get(session=session, kind="attack")
    assert attack.result is not None
    assert attack.result["attack"]["text"]
    assert "the leading answer>>\nBoth" in prompts(session, "attack", 2)[0]
    assert all("case against the leading answer>>" in one for one in prompts(session, "answer", 3))
    assert recount(session)["agrees"]


def test_an_attacker_that_fails_is_replaced(user: User, convene: Convene, fake: FakeModelServer) -> None:
    session = services.start(user, convene(protocol={"preset": "red-team"}).pk)
    fake.set_rules({"contains": "You were chosen to test", "status": 400, "times": 1})
    work(session)
    assert sorted(Turn.objects.filter(session=session, kind="attack").values_list("ordinal", "status")) == [
        (0, "failed"), (1, "completed"),
    ]  # fmt: skip


def test_the_page_of_a_council_shows_every_kind_of_turn(user: User, client: Client, convene: Convene) -> None:
    models = ("fake-option-1-reject", "fake-option-2", "fake-option-3", "fake")
    stages = ["opening", "attack", "debate", "ballot", "synthesis", "ratify"]
    ratified = conclude(user, convene(models, protocol={"preset": "red-team", "stages": stages}))
    figures = ("fake-estimate-10", "fake-estimate-20", "fake")
    estimated = conclude(user, convene(figures, **{**OPEN, "protocol": {"preset": "delphi"}}))
    client.force_login(user)
    shown = client.get(f"/councils/{ratified.pk}").content.decode()
    assert "Case against the leading answer" in shown
    assert "Rejects the text." in shown
    assert "the median of the estimates" in client.get(f"/councils/{estimated.pk}").content.decode()


# --- ratification -----------------------------------------------------------------------------------------------------

RATIFIED = {"stages": ["opening", "ballot", "synthesis", "ratify"]}


def test_a_text_that_the_seats_accept_is_ratified(user: User, convene: Convene) -> None:
    session = conclude(user, convene(protocol=RATIFIED))
    decision = decision_of(session)
    assert decision.ratification == {"accepted": 3, "rejected": 0, "ratified": True, "revised": False}
    assert stages(session)[-2:] == ["synthesis", "ratify"]
    assert decision.notes == []


def test_a_rejected_text_is_written_again_once_and_the_second_rejection_stands(user: User, convene: Convene) -> None:
    models = ("fake-option-1-reject", "fake-option-2-reject", "fake-option-3", "fake")
    session = conclude(user, convene(models, protocol=RATIFIED))
    assert stages(session) == ["opening", "ballot", "synthesis", "ratify", "synthesis", "ratify"]
    decision = decision_of(session)
    assert decision.ratification == {"accepted": 1, "rejected": 2, "ratified": False, "revised": True}
    assert decision.notes[0].startswith("Not ratified: 1 of 3 seats accepted this text")
    rewriting = prompts(session, "synthesis", 5)[0]
    assert "why a member rejected it>>" in rewriting
    assert "write it anew" in rewriting
    assert recount(session)["agrees"]


# --- debate -----------------------------------------------------------------------------------------------------------


def test_questions_between_seats_are_delivered_and_answered(user: User, convene: Convene) -> None:
    session = conclude(user, convene(protocol={"preset": "debate", "rounds": 2}))
    assert stages(session) == [
        "opening",
        "debate",
        "debate",
        "ballot",
        "synthesis",
    ]  # nobody moved, but somebody was asked
    first, second = prompts(session, "answer", 2), prompts(session, "answer", 3)
    assert all("answer A of another member>>" in one for one in first)
    assert any("question 1 put to you>>" in one for one in second)
    assert not any("You may put up to two questions" in one for one in second)  # nobody could reply any more
    exchange = decision_of(session).exchange
    assert len(exchange) == 3
    # The fake replies to one question, however many it was asked.
    assert {one["to"] for one in exchange} == {one["to"] for one in exchange if one["question"] and one["reply"]}
    assert any("reply to your question>>" in one for one in prompts(session, "ballot", 4))


def test_a_change_of_mind_names_what_brought_it_about(user: User, convene: Convene, fake: FakeModelServer) -> None:
    session = services.start(user, convene(protocol={"preset": "debate"}).pk)
    moved = {"answer": "Tabs it is.", "option": "Tabs", "changed": True, "because": "The majority says so.", **SAYS}
    fake.set_rules({"contains": "agreement alone is no reason", "model": "fake-option-1", "reply": json.dumps(moved)})
    work(session)
    [flip] = decision_of(session).flips
    assert flip["persuaded_by"] == {"kind": "none", "n": None, "entry": None, "revision": None}
    assert recount(session)["agrees"]


def test_a_seat_of_five_reads_half_of_the_others(user: User, convene: Convene, fake: FakeModelServer) -> None:
    texts = {f"fake-{letter}": f"Proposal number {letter}: {letter * 9}." for letter in "vwxyz"}
    answering(fake, texts)
    session = conclude(user, convene((*texts, "fake"), **{**OPEN, "protocol": {"preset": "debate"}}))
    read = [one.count("of another member>>") for one in prompts(session, "answer", 2)]
    assert read == [2] * 5


def test_a_retried_seat_does_not_read_what_others_said_in_the_same_round(
    user: User, convene: Convene, fake: FakeModelServer
) -> None:
    answering(fake, {"fake-x": "Keep them on tape.", "fake-y": "Keep them on disk."})
    session = services.start(
        user, convene(("fake-x", "fake-y", "fake"), **{**OPEN, "protocol": {"preset": "debate"}}).pk
    )
    while stages(session)[-1:] != ["debate"]:
        work(session, limit=1)
    changed = {"answer": "Burn them.", "changed": True, "because": "An error.", **SAYS}
    fake.set_rules({"model": "fake-x", "reply": json.dumps(changed)})
    first, second = sorted(pending(session), key=lambda turn: turn.seat.position if turn.seat else 9)
    run(session, [first])
    run(session, [second])
    assert "Burn them." not in prompts(session, "answer", 2)[1]


# --- early stops ------------------------------------------------------------------------------------------------------


def test_a_ballot_that_could_change_nothing_is_not_asked_for_again(
    user: User, convene: Convene, fake: FakeModelServer
) -> None:
    models = ("fake-option-1", "fake-option-1", "fake-option-1", "fake-option-2", "fake")
    session = services.start(user, convene(models).pk)
    fake.set_rules({"contains": "secret ballot", "model": "fake-option-2", "status": 500})
    work(session)
    released = Turn.objects.get(session=session, kind="ballot", seat__position=3)
    assert (session.status, released.status, released.error) == ("completed", "cancelled", "not_needed")
    decision = decision_of(session)
    assert (decision.outcome, decision.missing, decision.notes) == ("decided", [], [])
    assert [one["name"] for one in decision.dissent] == ["Seat 4"]  # it is still there to dissent
    assert recount(session)["agrees"]


def test_an_agreement_that_rests_on_nothing_is_debated(user: User, convene: Convene, fake: FakeModelServer) -> None:
    pack = knowledge.create_pack(user, name="Indentation")
    knowledge.add_entry(pack, user, {"title": "Tabs or spaces", "content": "Tabs and spaces both indent."})
    said = json.dumps({"answer": "Tabs, as I feel.", "option": "Tabs", **SAYS})  # shown a passage, it cites none
    fake.set_rules({"contains": "Choose exactly one of the options", "reply": said})
    session = conclude(user, convene(("fake", "fake", "fake", "fake"), protocol={"preset": "debate"}, packs=[pack.pk]))
    assert stages(session) == ["opening", "debate", "synthesis"]


# --- merging ----------------------------------------------------------------------------------------------------------

TAPE, DISK = "Store the backups on tape.", "The backups should be stored on tape."


@pytest.fixture
def merged(user: User, convene: Convene, fake: FakeModelServer) -> CouncilSession:
    answering(fake, {"fake-x": TAPE, "fake-y": DISK, "fake-z": "Delete all of them tomorrow."})
    return conclude(user, convene(("fake-x", "fake-y", "fake-z", "fake"), **OPEN))


def test_answers_that_say_the_same_are_one_candidate_and_the_score_is_logged(merged: CouncilSession) -> None:
    counted = SessionEvent.objects.filter(stream=merged, type="tally.computed").order_by("seq")[0].payload["tally"]
    assert sorted(len(one["seats"]) for one in counted["candidates"]) == [1, 2]
    [pair] = [one for one in counted["merging"]["pairs"] if one["merged"]]
    assert pair["score"] >= counted["merging"]["threshold"] == 0.85
    assert counted["merging"]["model"] == "all-MiniLM-L6-v2"
    assert recount(merged)["agrees"]


def test_a_user_takes_a_merge_apart_and_the_recount_agrees(merged: CouncilSession, user: User, api: Api) -> None:
    before = snapshot(merged)
    tally = before["rounds"][0]["tally"]
    candidate = next(one["id"] for one in tally["candidates"] if len(one["seats"]) == 2)
    answered = api.post(f"/api/council-sessions/{merged.pk}/candidates/split", {"candidate": candidate})
    assert answered.status_code == 200
    after = snapshot(merged)
    assert all(len(round_["tally"]["candidates"]) == 3 for round_ in after["rounds"] if round_["tally"])
    assert after["rounds"][0]["tally"]["merging"]["pairs"][0]["reason"] == "undone"
    assert "taken apart by the user" in after["decisions"][-1]["notes"][0]
    merged.refresh_from_db()
    assert recount(merged)["agrees"]
    built = reduce(before, events(merged, before["last_seq"]))
    assert {part: built[part] for part in after} == after
    with pytest.raises(InvalidInput):
        services_split(user, merged, candidate)  # nothing is merged any more


@pytest.mark.forges  # at its end
def test_a_split_that_changes_the_outcome_replaces_the_text(
    user: User, convene: Convene, fake: FakeModelServer
) -> None:
    """Two of three held the merged answer, a majority; apart, nobody has one, and the chair's text has lost its ground."""
    answering(fake, {"fake-x": TAPE, "fake-y": DISK, "fake-z": "Delete all of them tomorrow."})
    protocol = {**RATIFIED, "rule": "majority"}
    session = conclude(user, convene(("fake-x", "fake-y", "fake-z", "fake"), **{**OPEN, "protocol": protocol}))
    written = Decision.objects.get(run__session=session)
    assert (written.outcome, written.source, written.ratification is None) == ("decided", "chair", False)
    candidate = next(
        one["id"] for one in snapshot(session)["rounds"][0]["tally"]["candidates"] if len(one["seats"]) == 2
    )
    services_split(user, session, candidate)
    replaced = Decision.objects.get(run__session=session)
    assert (replaced.outcome, replaced.source, replaced.ratification) == ("no_consensus", "verbatim", None)
    assert "These answers stand" in replaced.answer
    assert "replaced" in replaced.notes[0]
    assert not any("accepted this text" in note for note in replaced.notes)
    session.refresh_from_db()
    assert recount(session)["differences"] == []
    replaced.answer = written.answer
    replaced.save()
    assert [one["field"] for one in recount(session)["differences"]] == ["answer"]


def services_split(user: User, session: CouncilSession, candidate: str) -> None:
    from council import merges

    merges.split(user, session.pk, candidate)


def test_answers_are_taken_apart_only_when_the_council_is_over_and_by_its_owner(
    user: User, other_api: Api, convene: Convene
) -> None:
    session = services.start(user, convene().pk)
    with pytest.raises(IllegalState):
        services_split(user, session, "a1")
    answered = other_api.post(f"/api/council-sessions/{session.pk}/candidates/split", {"candidate": "a1"})
    assert answered.status_code == 404


# --- templates --------------------------------------------------------------------------------------------------------


def test_a_session_keeps_the_template_version_that_it_was_made_from(user: User, api: Api) -> None:
    def save(role: str) -> None:
        agents: list[Any] = [{"name": "A", "role": role}, {"name": "B"}]
        templates.save_template(None, slug="duo", title="Duo", agents=agents, protocol={"preset": "poll"})

    save("first")
    session = services.create_session(user, services.Plan(question="Why?", template="duo"))
    save("second")
    shown = api.get(f"/api/council-sessions/{session.pk}").json()
    assert shown["template"] == {"slug": "duo", "title": "Duo", "version": 1}
    kept = api.get(f"/api/council-sessions/{session.pk}/template").json()
    assert (kept["version"], kept["agents"][0]["role"], kept["protocol"]) == (1, "first", {"preset": "poll"})
    assert selectors.template_of(user, session.pk).content["agents"][0]["role"] == "first"


def test_the_admin_shows_the_versions_of_a_template(user: User, client: Client) -> None:
    agents: list[Any] = [{"name": "A", "role": "the first role"}, {"name": "B"}]
    template = templates.save_template(None, slug="duo", title="Duo", agents=agents)
    templates.save_template(None, slug="duo", title="Duo", agents=[*agents, {"name": "C"}])
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    client.force_login(user)
    page = client.get(f"/admin/council/counciltemplate/{template.pk}/change/").content.decode()
    assert page.count("the first role") >= 2
    assert "kept versions" in page.lower()


def test_a_kept_version_cannot_be_changed(user: User) -> None:
    templates.save_template(None, slug="duo", title="Duo", agents=[{"name": "A"}, {"name": "B"}])
    with pytest.raises(DatabaseError), transaction.atomic():
        TemplateVersion.objects.update(title="Trio")


def test_a_session_without_a_template_says_so(api: Api, convene: Convene) -> None:
    session = convene()
    assert api.get(f"/api/council-sessions/{session.pk}").json()["template"] is None
    assert api.get(f"/api/council-sessions/{session.pk}/template").status_code == 404


def test_options_and_estimates_exclude_each_other(api: Api) -> None:
    body = {"question": "How many?", "options": ["1", "2"], "protocol": {"preset": "delphi"}}
    answered = api.post("/api/council-sessions", body)
    assert answered.status_code == 400
    assert answered.json()["errors"][0]["pointer"] == "/options"


# --- blindness --------------------------------------------------------------------------------------------------------


def test_a_prompt_that_names_another_seat_would_be_found(user: User, convene: Convene) -> None:
    """``blindness`` looks through every test of councils; this one shows that it sees."""
    session = conclude(user, convene())
    assert blindness.leaks() == []
    call = LlmCall.objects.filter(turn__kind="ballot", turn__seat__name="Seat 1").first()
    assert call is not None
    for leak, what in (("as Seat 2 said", "the name of Seat 2"), ("of fake-option-3,", "the model of Seat 3")):
        LlmCall.objects.filter(pk=call.pk).update(user=f"{call.user} {leak}")
        assert any(what in one for one in blindness.leaks())
    LlmCall.objects.filter(pk=call.pk).update(user=call.user)
    assert session.llm_calls.exists()
