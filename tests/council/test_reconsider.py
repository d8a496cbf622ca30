"""Reconsidering: a decision says when what it cites has changed, and only who relied on that is asked again."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from council import reconsidering, selectors, serial, services, stale
from council.deliberation.revisions import moved
from council.models import CouncilSession, Decision, LlmCall, Turn
from council.recount import recount
from knowledge import services as knowledge
from knowledge.models import Entry, KnowledgePack
from realtime.errors import IllegalState
from tests.conftest import Api
from tests.council.test_snapshot import events, snapshot
from tests.support.councils import Convene, conclude, work
from tests.support.reducer import reduce

pytestmark = pytest.mark.django_db(transaction=True)
TABS = "Tabs are a matter of habit, says the guide of 2019. They are narrower in the file than spaces."
NOW = "Tabs are a matter of habit, says the guide of 2024. They are narrower in the file than spaces."
STORAGE = "Cold storage costs 3 euros a month for each terabyte, as measured over four years."


@pytest.fixture
def pack(user: User) -> KnowledgePack:
    pack = knowledge.create_pack(user, name="Style")
    knowledge.add_entries(
        pack, user, [{"title": "Habit", "content": TABS}, {"title": "Costs of storage", "content": STORAGE}]
    )
    return pack


@pytest.fixture
def session(user: User, convene: Convene, pack: KnowledgePack) -> CouncilSession:
    """Anna and Bert read of tabs, Cleo of storage."""
    agents: list[Any] = [
        {"name": "Anna", "role": "tabs and habit", "model": "fake-option-1"},
        {"name": "Bert", "role": "tabs and the guide", "model": "fake-option-1"},
        {"name": "Cleo", "role": "cold storage by the terabyte", "model": "fake-option-2"},
    ]
    protocol = {"preset": "debate", "evidence_k": 1}
    return conclude(user, convene(question="Which?", packs=[pack.pk], agents=agents, protocol=protocol))


def entry(title: str = "Habit") -> Entry:
    return Entry.objects.get(title=title)


def revise(user: User, content: str = NOW) -> Entry:
    knowledge.revise_entry(entry().pk, user, {"content": content})
    return entry()


def citations(api: Api, session: CouncilSession) -> list[Any]:
    decision = api.get(f"/api/council-sessions/{session.pk}").json()["decision"]
    found: list[Any] = decision["citations"]
    return found


def asked_anew(session: CouncilSession) -> list[str]:
    turns = Turn.objects.filter(session=session, round__run__number=2, kind="answer", copied_from=None)
    return [turn.seat.name for turn in turns.order_by("seat__position") if turn.seat]


def decision_of(session: CouncilSession, number: int = 2) -> Decision:
    return Decision.objects.get(run__session=session, run__number=number)


# --- stale citations --------------------------------------------------------------------------------------------------


def test_a_decision_says_what_has_changed_since(api: Api, user: User, session: CouncilSession) -> None:
    assert {one["stale"] for one in citations(api, session)} == {None}
    here = f"/api/council-sessions/{session.pk}"
    tag = api.get(here).headers["ETag"]
    assert api.get(here, If_None_Match=tag).status_code == 304
    now = revise(user)
    assert api.get(here, If_None_Match=tag).status_code == 200  # nobody edited the council
    changed = [one for one in citations(api, session) if one["entry"] == str(now.pk)]
    assert changed
    expected = {"revision": str(now.revision_id), "number": 2, "withdrawn": False}
    assert all(one["stale"] == expected for one in changed)
    knowledge.delete_entry(now.pk)
    gone = {"revision": None, "number": None, "withdrawn": True}
    assert [one["stale"] for one in citations(api, session) if one["entry"] == str(now.pk)] == [gone] * len(changed)


def test_all_citations_are_looked_up_by_one_query(user: User, session: CouncilSession) -> None:
    revise(user)
    decision = selectors.latest_decision(session)
    assert decision is not None
    shown = serial.decision(decision)
    many = {**shown, "citations": shown["citations"] * 20}
    whole = selectors.session_for(user, session.pk)
    assert whole.owner == user
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert sum(one["stale"] is not None for one in stale.mark(whole.owner, many)["citations"]) >= 20
    assert len(queries) == 1


def test_what_the_owner_may_not_read_any_more_counts_as_withdrawn(
    api: Api, user: User, other_user: User, convene: Convene
) -> None:
    theirs = knowledge.create_pack(other_user, name="Shared")
    knowledge.add_entries(theirs, other_user, [{"title": "Habit", "content": TABS}])
    share = knowledge.share(theirs.pk, other_user, user.email, "viewer")[0]
    session = conclude(user, convene(packs=[theirs.pk]))
    knowledge.revise_entry(entry().pk, other_user, {"content": "A secret of theirs."})
    knowledge.unshare(theirs.pk, share.pk)
    gone = {"revision": None, "number": None, "withdrawn": True}
    assert gone in [one["stale"] for one in citations(api, session)]
    reconsidering.reconsider(user, session.pk)
    work(session)
    assert not LlmCall.objects.filter(user__contains="secret of theirs").exists()


# --- asking again -----------------------------------------------------------------------------------------------------


def test_only_seats_that_cited_it_are_asked_with_then_and_now(api: Api, user: User, session: CouncilSession) -> None:
    revise(user)
    before = Turn.objects.get(session=session, kind="answer", seat__name="Cleo", round__number=1).result
    answer = api.post(f"/api/council-sessions/{session.pk}/reconsider")
    assert answer.status_code == 202, answer.content
    assert asked_anew(session) == ["Anna", "Bert"]
    work(session)
    assert session.status == "completed"
    prompts = list(
        LlmCall.objects.filter(turn__kind="answer", turn__round__run__number=2).values_list("user", flat=True)
    )
    assert len(prompts) == 2
    for prompt in prompts:
        then, now = (prompt.index(f"what evidence [1] {when}>>") for when in ("said when you answered", "says now"))
        assert "guide of 2019" in prompt[then:now]
        assert "guide of 2024" in prompt[now:]
        assert "Keep your answer unless this change matters" in prompt
        assert "earlier decision" not in prompt
    cleo = Turn.objects.get(round__run__number=2, seat__name="Cleo", kind="answer")
    assert cleo.copied_from is not None
    assert cleo.result is not None
    assert before is not None
    assert cleo.result["answer"]["answer"] == before["answer"]["answer"]


def test_the_run_goes_on_without_a_debate_and_recounts(api: Api, user: User, session: CouncilSession) -> None:
    now = revise(user)
    reconsidering.reconsider(user, session.pk)
    work(session)
    stages = list(session.runs.get(number=2).rounds.values_list("stage", flat=True))
    assert stages == ["opening", "ballot", "synthesis"]
    decision = decision_of(session)
    assert decision.notes[0].startswith("Reconsidered after run 1: “Habit” was revised (1 to 2).")
    cited = set(decision.citations.values_list("revision_id", flat=True))
    assert now.revision_id in cited
    assert {one["stale"] for one in citations(api, session)} == {None}
    found = recount(session)
    assert found["agrees"], found["differences"]
    refused = api.post(f"/api/council-sessions/{session.pk}/reconsider")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_stale")


def test_a_withdrawn_entry_takes_its_passage_along(user: User, session: CouncilSession) -> None:
    knowledge.delete_entry(entry().pk)
    reconsidering.reconsider(user, session.pk)
    work(session)
    prompt = LlmCall.objects.filter(turn__kind="answer", turn__round__run__number=2).first()
    assert prompt is not None
    assert "This passage was withdrawn; nothing takes its place." in prompt.user
    assert "“Habit” was withdrawn" in decision_of(session).notes[0]
    gone = str(entry().pk)
    anew = Turn.objects.filter(round__run__number=2, copied_from=None)
    assert all(item["entry"] != gone for turn in anew for item in turn.evidence)
    assert recount(session)["agrees"]


def test_seats_keep_an_open_answer_word_for_word(user: User, convene: Convene, pack: KnowledgePack) -> None:
    session = conclude(user, convene(question="Why are tabs a matter of habit?", options=[], packs=[pack.pk]))
    revise(user)
    first = {turn.seat_id: turn.result for turn in Turn.objects.filter(kind="answer", round__run__number=1)}
    reconsidering.reconsider(user, session.pk)
    work(session)
    for turn in Turn.objects.filter(kind="answer", round__run__number=2, status="completed"):
        was = first[turn.seat_id]
        assert was is not None
        assert turn.result is not None
        assert turn.result["answer"]["answer"] == was["answer"]["answer"]
    assert recount(session)["agrees"]


def test_a_snapshot_and_what_follows_gives_the_last(user: User, session: CouncilSession) -> None:
    revise(user)
    early = snapshot(session)
    reconsidering.reconsider(user, session.pk)
    between = snapshot(session)
    work(session)
    last = snapshot(session)
    for taken in (early, between):
        built = reduce(taken, events(session, taken["last_seq"]))
        for round_ in built["rounds"]:
            round_["turns"].sort(key=lambda turn: turn["turn"])
        assert built == last


def test_small_models_reconsider_as_well(user: User, convene: Convene, pack: KnowledgePack) -> None:
    models = ("fake-135m-a", "fake-135m-b", "fake-135m-c")
    session = conclude(user, convene(models, question="Why are tabs a matter of habit?", packs=[pack.pk]))
    revise(user)
    reconsidering.reconsider(user, session.pk)
    assert work(session).status == "completed"
    assert LlmCall.objects.filter(turn__round__run__number=2, user__contains="as it is now").exists()


def test_when_nothing_can_be_reconsidered(api: Api, other_api: Api, user: User, convene: Convene) -> None:
    session = convene()
    address = f"/api/council-sessions/{session.pk}/reconsider"
    assert api.post(address).status_code == 409
    services.start(user, session.pk)
    with pytest.raises(IllegalState):
        reconsidering.reconsider(user, session.pk)
    work(session)
    refused = api.post(address)
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_stale")
    assert other_api.post(address).status_code == 404
    assert session.runs.count() == 1


# --- where a passage went ---------------------------------------------------------------------------------------------

BEFORE = "# Rules\n\nFirst, wash your hands. Then dry them. Last, put on gloves.\n\n# Other\n\nIt takes 1.5 minutes. Nothing here."


@pytest.mark.parametrize(
    ("after", "passage", "now"),
    [
        (BEFORE, "Then dry them.", "Then dry them."),
        ("An introduction.\n\n" + BEFORE, "Then dry them.", "Then dry them."),
        (BEFORE.replace("dry them", "let them dry"), "Then dry them.", "Then let them dry."),
        (BEFORE.replace(" Then dry them.", ""), "Then dry them.", None),
        (BEFORE.replace("Then dry", "Wait a while. Then dry"), "wash your hands. Then dry them.", None),
        (BEFORE.replace("1.5", "2.5"), "It takes 1.5 minutes.", "It takes 2.5 minutes."),
        (BEFORE + " Or so it was in 2024.", "Nothing here.", "Nothing here."),
        ("", "Then dry them.", None),
    ],
    ids=["same", "moved", "changed", "deleted", "inserted", "figures", "at-the-end", "emptied"],
)
def test_where_a_passage_stands_now(after: str, passage: str, now: str | None) -> None:
    start = BEFORE.index(passage)
    found = moved(BEFORE, after, start, start + len(passage))
    if passage.startswith("wash"):
        now = "First, wash your hands. Wait a while. Then dry them."
    assert (found.of(after) if found else None) == now


@given(st.text(max_size=80), st.text(max_size=80), st.integers(0, 80), st.integers(0, 80))
def test_any_passage_of_any_text_has_a_place_or_none(before: str, after: str, one: int, other: int) -> None:
    start, end = sorted((min(one, len(before)), min(other, len(before))))
    found = moved(before, after, start, end)
    assert found is None or 0 <= found.start <= found.end <= len(after)
    same = moved(before, before, start, end)
    wanted = before[start:end].strip()
    assert wanted == "" or (same is not None and wanted in same.of(before))
