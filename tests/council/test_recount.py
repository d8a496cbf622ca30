"""The recount agrees with what was stored and names whatever was changed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import User
from council import counting, state
from council.models import Ballot, Citation, CouncilSession, Decision, Round, Run, Turn
from council.recount import recount
from knowledge import services as knowledge
from realtime.errors import IllegalState
from tests.conftest import Api
from tests.support.councils import Convene, conclude

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.forges]

TEXT = (
    "Tabs or spaces is a question of habit. Tabs are narrower in the file, and every reader chooses how wide they look."
)


@pytest.fixture
def session(user: User, convene: Convene) -> CouncilSession:
    """A debate, so that there are several tallies, over a pack, so that there are citations."""
    pack = knowledge.create_pack(user, name="Style")
    knowledge.add_entries(pack, user, [{"title": "Tabs or spaces", "content": TEXT}])
    return conclude(user, convene(packs=[pack.pk], protocol={"preset": "debate"}))


def change(table: str, column: str, value: Any, where: str, *, cast: str = "jsonb") -> None:
    """Past the models, as somebody with a database console would."""
    with connection.cursor() as cursor:
        written = json.dumps(value) if cast == "jsonb" else value
        cursor.execute(f'UPDATE {table} SET "{column}" = %s::{cast} WHERE id = %s::{_id_type(table)}', [written, where])  # noqa: S608
        assert cursor.rowcount == 1


def _id_type(table: str) -> str:
    return "bigint" if table in {"council_ballot", "council_citation"} else "uuid"


def forgeries(session: CouncilSession) -> Iterator[tuple[str, tuple[str, str, Any, str, str], Any]]:
    """(field that the recount must name, how to change it, its value before)"""
    for ballot in Ballot.objects.filter(round__run__session=session):
        paper = str(ballot.pk)
        yield "ballot as logged", ("council_ballot", "ranking", ballot.ranking[::-1], paper, "jsonb"), ballot.ranking
        yield "ballot as logged", ("council_ballot", "ranking", ballot.ranking[:-1], paper, "jsonb"), ballot.ranking
        scores = {**ballot.scores, ballot.ranking[-1]: ballot.scores[ballot.ranking[-1]] + 1}
        yield "ballot as logged", ("council_ballot", "scores", scores, paper, "jsonb"), ballot.scores
        yield "order", ("council_ballot", "order", ballot.order[::-1], paper, "jsonb"), ballot.order
        yield "ballot as logged", ("council_ballot", "abstain", "true", paper, "boolean"), "false"
    tallies: Any = Round.objects.filter(run__session=session, tally__isnull=False).values_list("pk", "tally")
    for pk, tally in tallies:
        forged = {**tally, "margin": 2 if tally["margin"] == 1 else 1}
        yield "margin", ("council_round", "tally", forged, str(pk), "jsonb"), tally
        forged = {**tally, "agreement": {**tally["agreement"], "modal_share": 0.99}}
        yield "agreement", ("council_round", "tally", forged, str(pk), "jsonb"), tally
    results: Any = Turn.objects.filter(session=session, kind="answer").values_list("pk", "result")
    for pk, result in results:
        forged = {**result, "answer": {**result["answer"], "confidence": 0.01}}
        yield "answer as logged", ("council_turn", "result", forged, str(pk), "jsonb"), result
    decision = Decision.objects.get(run__session=session)
    made = str(decision.pk)
    for field, value, cast in (
        ("option", "Neither", "text"), ("answer", "Do as you like.", "text"), ("margin", "7", "int"),
        ("outcome", "no_consensus", "text"), ("too_close", str(not decision.too_close), "boolean"),
        ("confidence", "0.123", "float8"), ("decided_by", "borda", "text"),
    ):  # fmt: skip
        yield field, ("council_decision", field, value, made, cast), getattr(decision, field)
    flip = {
        "seat": str(session.seats.get(position=1).pk),
        "before": "o1",
        "after": "o2",
        "because": "",
        "name": "",
        "round": 2,
    }
    yield "flips", ("council_decision", "flips", [flip], made, "jsonb"), decision.flips
    dissent = [{**one, "text": "I agree after all."} for one in decision.dissent]
    yield "dissent", ("council_decision", "dissent", dissent, made, "jsonb"), decision.dissent
    agreement = {**decision.agreement, "opening": 0.77}
    yield "agreement", ("council_decision", "agreement", agreement, made, "jsonb"), decision.agreement
    for citation in Citation.objects.filter(decision=decision):
        row = str(citation.pk)
        yield "citations", ("council_citation", "quote", "Spaces are better.", row, "text"), citation.quote
        yield "citations", ("council_citation", "status", "unsupported", row, "text"), citation.status
    run = Run.objects.get(session=session)
    yield "order", ("council_run", "seed", str(_other_seed(run)), str(run.pk), "bigint"), run.seed


def _other_seed(run: Run) -> int:
    """Of three candidates there are so few orders that one seed in six gives the same."""
    loaded = state.load(run.pk)
    voted = next(round_ for round_ in loaded.rounds if round_.stage == "ballot")
    voters = [turn.seat for turn in voted.turns if turn.kind == "ballot" and turn.seat]

    def orders(seed: int) -> Any:
        return counting.presented(loaded.model_copy(update={"seed": seed}), voters, voted.number)[1]

    return next(seed for seed in itertools.count(run.seed + 1) if orders(seed) != orders(run.seed))


def test_every_forgery_is_noticed_and_named(session: CouncilSession) -> None:
    assert recount(session)["agrees"], recount(session)["differences"]
    tried = list(forgeries(session))
    assert len(tried) > 20
    assert {one[0] for one in tried} >= {"ballot as logged", "citations"}
    for field, (table, column, value, pk, cast), before in tried:
        change(table, column, value, pk, cast=cast)
        found = recount(session)
        assert not found["agrees"], (table, column, value)
        assert field in {difference["field"] for difference in found["differences"]}, (table, column, found)
        change(table, column, before, pk, cast=cast)
    assert recount(session)["agrees"]


def test_a_ballot_that_was_added_or_taken_away_is_noticed(session: CouncilSession) -> None:
    ballot = Ballot.objects.filter(round__run__session=session).first()
    assert ballot is not None
    ballot.delete()
    fields = {difference["field"] for difference in recount(session)["differences"]}
    assert {"voters", "ballot as logged"} <= fields


def test_the_command_and_the_api_fail_loudly(session: CouncilSession, api: Api, capsys: Any) -> None:
    call_command("recount", str(session.pk), "--rule", "borda")
    assert "The recount agrees" in (said := capsys.readouterr().out)
    assert "Under borda: " in said
    Ballot.objects.filter(round__run__session=session).update(ranking=["o3"])
    with pytest.raises(CommandError, match="ballot as logged") as raised:
        call_command("recount", str(session.pk))
    assert raised.value.returncode == 1
    answer = api.get(f"/api/council-sessions/{session.pk}/recount").json()
    assert answer["agrees"] is False
    assert {"run", "field", "stored", "recomputed"} <= set(answer["differences"][0])


def test_another_rule_is_shown_and_nothing_is_touched(session: CouncilSession, api: Api) -> None:
    before = Decision.objects.filter(run__session=session).values().get()
    decided = api.get(f"/api/council-sessions/{session.pk}/recount?rule=schulze").json()
    assert decided["other_rule"]["same"] is True
    assert decided["other_rule"]["option"] == decided["decision"]["option"]
    other = api.get(f"/api/council-sessions/{session.pk}/recount?rule=majority").json()["other_rule"]
    assert (other["winner"], other["same"]) == (None, False)  # three seats, three positions
    assert Decision.objects.filter(run__session=session).values().get() == before
    refused = api.get(f"/api/council-sessions/{session.pk}/recount?rule=dice")
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_rule")


def test_a_record_of_an_earlier_version_stays_valid(session: CouncilSession) -> None:
    """Written before rules and fields that came later: they are left out of the comparison, and nothing else is."""
    ballot_round = Round.objects.get(run__session=session, stage="ballot")
    kept = {"plurality", "majority"}
    counted: dict[str, Any] = ballot_round.tally or {}
    rules = {name: result for name, result in counted["rules"].items() if name in kept}
    elected = [set(result["winners"]) for result in rules.values() if result["winners"]]
    together = set.intersection(*elected, {counted["winner"]})
    close = counted["margin"] == 1 or counted["decided_by"] == "seed" or not together
    tally = {name: value for name, value in counted.items() if name not in {"abstentions", "version"}}
    change("council_round", "tally", {**tally, "rules": rules, "too_close": close}, str(ballot_round.pk))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM council_sessionevent WHERE type = 'tally.computed'")
    decision = Decision.objects.get(run__session=session)
    decision.rules, decision.too_close = rules, close
    decision.save()
    assert recount(session)["differences"] == []


def test_nothing_decided_is_an_error(convene: Convene) -> None:
    with pytest.raises(IllegalState):
        recount(convene())
