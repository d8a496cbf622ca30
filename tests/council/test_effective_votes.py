"""Effective votes over stored sessions, who may see them, and tallies of an earlier version."""

from __future__ import annotations

from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import User
from council import counting, decisions, selectors, services
from council.deliberation.types import Rule
from council.models import CouncilSession, Decision, Round, Run, SessionEvent
from council.recount import recount
from council.state import load
from tests.conftest import Api
from tests.support.councils import Convene, conclude

MODELS = ("claude-x", "gpt-x", "gpt-y", "gpt-z")  # the last is the chair's


def opened(owner: User, positions: str) -> CouncilSession:
    """A past session of three voters; "112" is what they held at the opening."""
    agents: list[Any] = [{"name": name, "model": name} for name in MODELS[:3]]
    agents.append({"name": "Chair", "model": MODELS[3], "chair": True})
    session = services.create_session(owner, services.Plan(question="Q?", options=["A", "B"], agents=agents))
    now = timezone.now()
    run = Run.objects.create(
        session=session,
        number=1,
        status="completed",
        protocol=session.protocol,
        seed=1,
        deadline_at=now,
        started_at=now,
    )
    voters = [str(seat.pk) for seat in session.seats.all() if not seat.chair]
    held = {seat: f"o{option}" for seat, option in zip(voters, positions, strict=True)}
    Round.objects.create(
        run=run, number=1, stage="opening", opened_at=now, closed_at=now, tally={"agreement": {"positions": held}}
    )
    return session


@pytest.mark.django_db
@pytest.mark.forges
def test_effective_votes_come_from_ones_own_past_sessions(user: User, other_user: User, api: Api) -> None:
    """The two of one family agree in all 30, the third with either in half of them: ρ = (1 + 0 + 0) / 3."""
    mine = [opened(user, "111" if i % 2 else "211") for i in range(29)]
    path = f"/api/council-sessions/{mine[0].pk}/effective-votes"
    opened(other_user, "111")
    assert api.get(path).json() == {**api.get(path).json(), "sessions": 29, "n_eff": None, "rho": None}
    opened(user, "211")
    found = api.get(path).json()
    assert (found["seats"], found["sessions"], found["needed"]) == (3, 30, 30)
    assert found["rho"] == pytest.approx((1 + 2 * (14 - 16) / 30) / 3)
    assert found["n_eff"] == pytest.approx(3 / (1 + 2 * found["rho"]))
    out = StringIO()
    call_command("effective_votes", mine[0].pk, stdout=out)
    assert "from 31 sessions" in out.getvalue()


@pytest.mark.django_db
@pytest.mark.forges
def test_effective_votes_of_anothers_council_are_not_found(api: Api, other_user: User) -> None:
    assert api.get(f"/api/council-sessions/{opened(other_user, '111').pk}/effective-votes").status_code == 404
    with pytest.raises(CommandError):
        call_command("effective_votes", uuid4())


@pytest.mark.django_db
@pytest.mark.forges
def test_the_command_says_when_it_cannot_tell(user: User) -> None:
    out = StringIO()
    call_command("effective_votes", opened(user, "112").pk, stdout=out)
    assert "met in 1 sessions, 30 are needed" in out.getvalue()


@pytest.mark.django_db
def test_a_session_of_one_family_warns(user: User, convene: Convene) -> None:
    alike = selectors.session_snapshot(convene(("gpt-a", "gpt-b", "gpt-c", "claude-x")).pk)
    mixed = selectors.session_snapshot(convene(("gpt-a", "gpt-b", "claude-x", "claude-x")).pk)
    assert len(alike["session"]["warnings"]) == 1
    assert mixed["session"]["warnings"] == []


@pytest.mark.forges
@pytest.mark.django_db(transaction=True)
def test_every_rule_decides_a_council_and_recounts(user: User, convene: Convene) -> None:
    """A ballot counted by four rules, as stored before there were twelve, is still right; so is a new one."""
    session = conclude(user, convene(protocol={"rule": "ranked_pairs"}))
    assert recount(session)["agrees"]
    decision = Decision.objects.get(run__session=session)
    assert set(decision.rules) == {rule.value for rule in Rule}
    as_before_there_were_twelve(session, decision)
    assert set(decision.rules) == {"plurality", "majority", "borda", "schulze"}
    assert recount(session)["agrees"]
    Round.objects.filter(run__session=session, stage="ballot").update(tally=None)
    assert recount(session)["agrees"] is False


def as_before_there_were_twelve(session: CouncilSession, decision: Decision) -> None:
    """What version 1 stored: tallies without a version and with four rules, and the decision from them. Its log said the same, which
    is shorter to leave out."""
    run = session.runs.get()
    for round_ in run.rounds.exclude(tally=None):
        state = load(run.pk)
        rounds = tuple(
            r.model_copy(update={"tally": r.tally.model_copy(update={"version": 1})}) if r.tally else r
            for r in state.rounds
        )
        old = counting.count(state.model_copy(update={"rounds": rounds}), round_.number, None).model_dump(mode="json")
        assert old.pop("version") == 1
        round_.tally = old
        round_.save()
    for name, value in decisions.computed_fields(load(run.pk)).items():
        setattr(decision, name, value)
    decision.save()
    SessionEvent.objects.filter(stream=session, type="tally.computed").delete()
