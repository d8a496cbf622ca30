"""Forks: what is kept stays as it was, what depended on a change is counted, asked or held anew, and the fork recounts."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from council import evidence, forks, services, state
from council.deliberation import carrying
from council.deliberation.types import Answer, Ballot, Candidate
from council.export import export
from council.models import Budget, CouncilSession, Decision, LlmCall, Message, Round, Seat, Turn
from council.recount import recount
from knowledge import indexing
from knowledge import services as knowledge
from knowledge.models import Entry, KnowledgePack
from realtime.errors import NotFound
from tests.conftest import Api
from tests.council.test_protocols import answering
from tests.council.test_snapshot import events, snapshot
from tests.support.councils import Convene, conclude, pending, run_one, work
from tests.support.fake_openai import FakeModelServer
from tests.support.reducer import reduce

pytestmark = pytest.mark.django_db(transaction=True)
OPEN: dict[str, Any] = {"options": [], "question": "How should we store the backups of the old archive?"}
MODELS = ("fake-option-1", "fake-option-2", "fake-option-2", "fake-option-3", "fake")


def fork(api: Api, session: CouncilSession, **body: Any) -> CouncilSession:
    answer = api.post(f"/api/council-sessions/{session.pk}/fork", body)
    assert answer.status_code == 201, answer.content
    return CouncilSession.objects.get(pk=answer.json()["id"])


def refused(api: Api, session: CouncilSession, **body: Any) -> list[str]:
    answer = api.post(f"/api/council-sessions/{session.pk}/fork", body)
    assert answer.status_code == 400, answer.content
    return [error["pointer"] for error in answer.json()["errors"]]


def seat(session: CouncilSession, position: int) -> str:
    return str(session.seats.get(position=position).pk)


def answers(session: CouncilSession, number: int = 1) -> list[Any]:
    turns = Turn.objects.filter(session=session, kind="answer", round__number=number, status="completed")
    return [turn.result for turn in turns.order_by("seat__position")]


def asked(session: CouncilSession) -> set[tuple[str, int, int]]:
    """(kind, round, position) of the turns for which models were called."""
    calls = LlmCall.objects.filter(session=session)
    return set(calls.values_list("turn__kind", "turn__round__number", "turn__seat__position"))


def agrees(session: CouncilSession) -> None:
    found = recount(session)
    assert found["agrees"], found["differences"]


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_fork_is_a_draft_of_the_same_plan(api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene(budget={"tokens": 900_000}))
    copy = fork(api, session)
    assert copy.status == "draft"
    assert (copy.question, copy.options, copy.protocol) == (session.question, session.options, session.protocol)
    names = ("position", "name", "role", "instructions", "model", "chair")
    assert list(copy.seats.values_list(*names)) == list(session.seats.values_list(*names))
    assert Budget.objects.get(session=copy).tokens_limit == 900_000
    assert copy.forked_from is not None
    assert copy.forked_from["session"] == str(session.pk)
    assert (copy.forked_from["kept"], copy.forked_from["new_from"]) == (0, 1)
    conclude(user, copy)
    assert {kind for kind, *_ in asked(copy)} == {"answer", "ballot", "synthesis", "dissent"}
    agrees(copy)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_kept_rounds_stand_as_they_were_and_cost_nothing(api: Api, user: User, convene: Convene, after: int) -> None:
    session = conclude(user, convene(MODELS, protocol={"preset": "debate"}))
    assert [one.stage for one in session.runs.get().rounds.all()] == ["opening", "debate", "ballot", "synthesis"]
    copy = fork(api, session, after_round=after)
    services.start(user, copy.pk)
    kept = Round.objects.filter(run__session=copy, closed_at__isnull=False, number__lte=after)
    assert kept.count() == after
    assert Budget.objects.get(session=copy).tokens_used == 0
    for number in range(1, after + 1):
        assert answers(copy, number) == answers(session, number)
        old, new = (Round.objects.get(run__session=one, number=number).tally for one in (session, copy))
        assert old is not None
        assert new is not None
        assert {name: new[name] for name in ("winner", "rules", "margin")} == {
            name: old[name] for name in ("winner", "rules", "margin")
        }
    copies = Turn.objects.filter(session=copy, round__number__lte=after)
    assert set(copies.values_list("copied_from__session", flat=True)) == {session.pk}
    work(copy)
    assert copy.status == "completed"
    assert min(number for _, number, _ in asked(copy)) == after + 1
    agrees(copy)
    assert Decision.objects.get(run__session=copy).option == Decision.objects.get(run__session=session).option


def test_a_snapshot_and_what_follows_gives_the_last(api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene(protocol={"preset": "debate"}))
    copy = fork(api, session, after_round=3, changes={"without_seats": [seat(session, 0)]})
    taken = [snapshot(copy)]
    services.start(user, copy.pk)
    taken.append(snapshot(copy))
    work(copy)
    last = snapshot(copy)
    assert last["session"]["status"] == "completed"
    assert last["session"]["forked_from"]["changes"] == {"without_seats": [seat(session, 0)]}
    for early in taken:
        built = reduce(early, events(copy, early["last_seq"]))
        for round_ in built["rounds"]:
            round_["turns"].sort(key=lambda turn: turn["turn"])
        assert built == last


def test_what_people_had_said_and_what_was_decided_before_goes_on_being_read(
    api: Api, user: User, convene: Convene
) -> None:
    session = conclude(user, convene())
    services.post_message(user, session.pk, content="Mind the winter.", kind="constraint")
    conclude(user, session)
    services.post_message(user, session.pk, content="Never mind.", kind="note")
    copy = fork(api, session, run=2, after_round=1)
    conclude(user, copy)
    assert list(Message.objects.filter(session=copy).values_list("content", flat=True)) == ["Mind the winter."]
    prompt = LlmCall.objects.filter(session=copy, turn__kind="ballot").first()
    assert prompt is not None
    assert "Mind the winter." in prompt.user
    assert "earlier decision in this session" in prompt.user


def test_closed_rounds_of_a_stopped_run_can_be_kept_and_broken_ones_not(api: Api, user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    while not session.runs.get().rounds.filter(stage="ballot").exists():
        work(session, limit=1)
    services.stop(user, session.pk)
    assert refused(api, session, after_round=2) == ["/after_round"]
    copy = conclude(user, fork(api, session, after_round=1))
    assert copy.status == "completed"
    assert {number for _, number, _ in asked(copy)} == {2, 3}
    agrees(copy)


def test_a_fork_of_a_fork_recounts(api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene(MODELS))
    first = conclude(user, fork(api, session, after_round=2, changes={"without_seats": [seat(session, 3)]}))
    second = conclude(user, fork(api, first, after_round=2, changes={"without_seats": [seat(first, 0)]}))
    assert second.status == "completed"
    agrees(second)


# --- without seats ----------------------------------------------------------------------------------------------------


def test_a_seat_that_is_left_out_takes_all_it_said_with_it(api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene(MODELS, protocol={"preset": "debate"}))
    copy = fork(api, session, after_round=3, changes={"without_seats": [seat(session, 1)]})
    conclude(user, copy)
    loaded = state.load(copy.runs.get().pk)
    for round_ in loaded.rounds[:3]:
        assert round_.tally is not None
        assert len(round_.tally.agreement.positions) == 3
    assert len(loaded.rounds[2].tally.rules) > 0 if loaded.rounds[2].tally else False
    assert copy.seats.count() == 4
    agrees(copy)


def test_ballots_over_texts_of_a_seat_are_read_without_them(
    api: Api, user: User, convene: Convene, fake: FakeModelServer
) -> None:
    answering(
        fake,
        {
            "fake-option-1": "Tape in a vault.",
            "fake-option-2": "Disks in two cities.",
            "fake-option-3": "Paper copies.",
        },
    )
    session = conclude(user, convene(MODELS, **OPEN))  # two seats on one model say the same
    assert [one.stage for one in session.runs.get().rounds.all()] == ["opening", "ballot", "synthesis"]
    copy = conclude(user, fork(api, session, after_round=2, changes={"without_seats": [seat(session, 3)]}))
    loaded = state.load(copy.runs.get().pk)
    texts = {one.text for one in loaded.rounds[1].tally.candidates} if loaded.rounds[1].tally else set()
    assert texts == {"Tape in a vault.", "Disks in two cities."}
    assert {kind for kind, *_ in asked(copy)} <= {"synthesis", "dissent"}
    agrees(copy)
    # Of the two that said the same one is gone: the other one's text is now its own alone, and is withheld from it.
    alone = conclude(user, fork(api, session, after_round=2, changes={"without_seats": [seat(session, 1)]}))
    agrees(alone)


def test_a_text_written_for_all_is_written_anew(api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene(MODELS))
    last = session.runs.get().rounds.count()
    copy = fork(api, session, after_round=last, changes={"without_seats": [seat(session, 0)]})
    assert copy.forked_from is not None
    assert (copy.forked_from["kept"], copy.forked_from["new_from"]) == (last - 1, last)
    assert "held anew" in copy.forked_from["notes"][-1]
    conclude(user, copy)
    assert ("synthesis", last, 3) in asked(copy)
    agrees(copy)


def test_without_the_chair_a_neutral_one_writes(api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    copy = conclude(user, fork(api, session, after_round=2, changes={"without_seats": [seat(session, 3)]}))
    assert copy.seats.get(chair=True).role == "writes the decision"
    agrees(copy)


def test_the_attacker_s_absence_undoes_the_attack(api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene(MODELS, protocol={"preset": "red-team"}))
    attacker = Turn.objects.get(session=session, kind="attack")
    copy = fork(api, session, after_round=3, changes={"without_seats": [str(attacker.seat_id)]})
    assert copy.forked_from is not None
    assert copy.forked_from["kept"] == 1
    conclude(user, copy)
    assert Turn.objects.get(session=copy, kind="attack").copied_from is None
    agrees(copy)


# --- without entries --------------------------------------------------------------------------------------------------


@pytest.fixture
def pack(user: User) -> KnowledgePack:
    pack = knowledge.create_pack(user, name="Style")
    texts = {
        "Tabs or spaces": "Tabs or spaces is a question of habit, says the guide, and tabs are narrower in the file.",
        "Spaces look alike": "Spaces look the same in every editor, and tabs do not, which decides for most teams.",
        "Costs of storage": "Cold storage costs 3 euros a month for each terabyte, as measured over four years.",
    }
    knowledge.add_entries(pack, user, [{"title": title, "content": text} for title, text in texts.items()])
    return pack


def roles(session: CouncilSession) -> list[str]:
    return [
        turn.seat.name for turn in Turn.objects.filter(session=session, copied_from=None, kind="answer") if turn.seat
    ]


def test_only_seats_that_read_a_withdrawn_entry_are_asked_again(
    api: Api, user: User, convene: Convene, pack: KnowledgePack
) -> None:
    agents: list[Any] = [
        {"name": "Anna", "role": "tabs and habit", "model": "fake-option-1"},
        {"name": "Bert", "role": "tabs and the guide", "model": "fake-option-2"},
        {"name": "Cleo", "role": "cold storage by the terabyte", "model": "fake-option-3"},
    ]
    plan = {"packs": [pack.pk], "agents": agents, "protocol": {"preset": "debate", "evidence_k": 1}}
    session = conclude(user, convene(question="Which?", **plan))
    entry = Entry.objects.get(title="Tabs or spaces")
    read = Turn.objects.filter(round__number=1, kind="answer", evidence__0__entry=str(entry.pk))
    assert sorted(read.values_list("seat__name", flat=True)) == ["Anna", "Bert"]
    copy = fork(api, session, after_round=2, changes={"without_entries": [str(entry.pk)]})
    assert copy.forked_from is not None
    assert (copy.forked_from["kept"], copy.forked_from["new_from"]) == (1, 1)
    assert copy.forked_from["asked_again"] == [seat(session, 0), seat(session, 1)]
    services.start(user, copy.pk)
    assert sorted(roles(copy)) == ["Anna", "Bert"]
    work(copy)
    assert copy.status == "completed"
    fresh = Turn.objects.filter(session=copy, copied_from=None).exclude(evidence=[])
    assert fresh.exists()
    assert str(entry.pk) not in json.dumps([turn.evidence for turn in fresh])
    agrees(copy)


def test_a_withdrawn_entry_is_never_found_also_in_a_snapshot(
    api: Api, user: User, convene: Convene, pack: KnowledgePack
) -> None:
    while indexing.index_once(pack.pk):
        pass
    knowledge.publish(pack.pk, None, "v1")
    session = convene(packs=[pack.pk], pins={pack.pk: "v1"})
    entry = str(Entry.objects.get(title="Tabs or spaces").pk)
    copy = fork(api, session, changes={"without_entries": [entry]})
    assert entry in {item.entry for item in evidence.retrieve(session.pk, "tabs or spaces", 3)}
    found = [item.entry for item in evidence.retrieve(copy.pk, "tabs or spaces", 2)]
    assert len(found) == 2
    assert entry not in found
    assert fork(api, copy).excluded_entries == [entry]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_faults_are_named(api: Api, other_api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    nobody = str(uuid4())
    assert refused(api, session, after_round=9) == ["/after_round"]
    assert refused(api, session, run=4) == ["/run"]
    assert refused(api, session, changes={"without_seats": [nobody]}) == ["/changes/without_seats/0"]
    assert refused(api, session, changes={"without_entries": [nobody]}) == ["/changes/without_entries/0"]
    two = [seat(session, 0), seat(session, 1)]
    assert refused(api, session, changes={"without_seats": two}) == ["/changes/without_seats"]
    assert refused(api, session, after_round=1, changes={"question": "Else?"}) == ["/changes/question"]
    assert refused(api, session, changes={"protocol": {"preset": "chaos"}}) == ["/changes/protocol/preset"]
    assert refused(api, session, changes={"nonsense": 1})
    assert refused(api, services.start(user, convene().pk), after_round=1) == ["/after_round"]  # still open
    assert other_api.post(f"/api/council-sessions/{session.pk}/fork", {}).status_code == 404
    assert not CouncilSession.objects.exclude(forked_from=None).exists()


def test_everything_may_change_when_nothing_is_kept(api: Api, user: User, convene: Convene) -> None:
    session = convene()
    changes = {
        "question": "Else?",
        "options": ["Yes", "No"],
        "agents": [{"name": "A"}, {"name": "B"}],
        "protocol": {"preset": "poll"},
        "budget": {"tokens": 10_000},
    }
    copy = fork(api, session, changes=changes)
    assert (copy.question, copy.options, copy.protocol["preset"]) == ("Else?", ["Yes", "No"], "poll")
    assert list(copy.seats.values_list("name", flat=True)) == ["A", "B", "Chair"]


def test_a_fork_that_keeps_rounds_keeps_its_plan(api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    copy = fork(api, session, after_round=1)
    refusal = api.patch(f"/api/council-sessions/{copy.pk}", {"agents": [{"name": "A"}, {"name": "B"}]})
    assert (refusal.status_code, refusal.json()["code"]) == (409, "fork_keeps_rounds")
    assert api.patch(f"/api/council-sessions/{copy.pk}", {"title": "What if"}).status_code == 200
    CouncilSession.objects.filter(pk=session.pk).delete()
    gone = api.post(f"/api/council-sessions/{copy.pk}/start")
    assert (gone.status_code, gone.json()["code"]) == (409, "fork_source_gone")


def test_a_copy_outlives_its_original(api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    copy = conclude(user, fork(api, session, after_round=2))
    Decision.objects.filter(run__session=session).delete()
    CouncilSession.objects.filter(pk=session.pk).delete()
    agrees(copy)


def test_the_record_says_where_it_comes_from(api: Api, user: User, convene: Convene) -> None:
    session = conclude(user, convene())
    copy = conclude(user, fork(api, session, after_round=1))
    whole = json.loads(export(copy, "json").content)
    assert whole["session"]["forked_from"]["after_round"] == 1
    assert whole["runs"][0]["origin"]["kind"] == "fork"
    minutes = export(copy, "md").content.decode()
    assert f"Forked from: council {session.pk}, run 1; keeps 1 of its rounds, new from round 2" in minutes
    assert "carried over" in minutes


def test_a_running_council_can_be_forked_from_what_is_closed(api: Api, user: User, convene: Convene) -> None:
    session = services.start(user, convene().pk)
    while not session.runs.get().rounds.filter(stage="ballot").exists():
        work(session, limit=1)
    run_one(pending(session)[0])
    copy = conclude(user, fork(api, session, after_round=1))
    assert copy.status == "completed"
    agrees(copy)


def test_a_wish_by_another_user_is_not_found(other_user: User, convene: Convene) -> None:
    session = convene()
    with pytest.raises(NotFound):
        forks.fork(other_user, session.pk, forks.Wish())
    assert Seat.objects.filter(session=session).exists()


# --- pure -------------------------------------------------------------------------------------------------------------


@given(st.permutations(["t1", "t2", "t3", "t4"]), st.sets(st.sampled_from(["t1", "t2", "t3", "t4"])))
def test_a_mapped_ballot_keeps_the_order_of_what_is_left(ranking: list[str], gone: set[str]) -> None:
    ids = {one: f"n{one}" for one in ranking if one not in gone}
    ballot = Ballot(ranking=tuple(ranking), scores={one: place for place, one in enumerate(ranking)})
    mapped = carrying.ballot_for(ballot, ids, ())
    assert mapped.ranking == tuple(ids[one] for one in ranking if one in ids)
    assert mapped.abstain == (not mapped.ranking)
    assert set(mapped.scores) == set(mapped.ranking)


def test_texts_are_the_same_by_what_they_say() -> None:
    before = [Candidate(id="t1", text="Tape."), Candidate(id="t2", text="Disks.")]
    assert carrying.text_ids(before, [Candidate(id="t1", text="disks")]) == {"t2": "t1"}
    assert carrying.position_of(Answer(answer="x", changed_because="[1]")).changed_because is None
