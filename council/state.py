"""The stored run as the pure package sees it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

from django.db.models import Prefetch

from council.deliberation import types as t
from council.models import CouncilSession, Round, Run, Seat, Turn


def protocol_of(run: Run) -> t.Protocol:
    return t.Protocol.model_validate(run.protocol)


def load(session: CouncilSession, run: Run) -> t.RunState:
    """Read the whole run (3 queries). Call it under the session's lock when what it says is acted upon."""
    turns = Turn.objects.select_related("ballot").order_by("created_at", "id")
    rounds = Round.objects.filter(run=run).prefetch_related(Prefetch("turns", queryset=turns)).order_by("number")
    return t.RunState(
        protocol=protocol_of(run),
        seats=tuple(_seat(seat) for seat in Seat.objects.filter(session=session).order_by("position")),
        options=tuple(session.options),
        rounds=tuple(_round(round_) for round_ in rounds),
        seed=run.seed,
        exhausted=cast("Literal['deadline', 'budget'] | None", run.exhausted or None),
    )


def _seat(seat: Seat) -> t.SeatState:
    return t.SeatState(id=str(seat.id), position=seat.position, chair=seat.chair)


def _round(round_: Round) -> t.RoundState:
    return t.RoundState(
        number=round_.number,
        stage=t.Stage(round_.stage),
        closed=round_.closed_at is not None,
        turns=tuple(_turns(round_.turns.all())),
        tally=t.Tally.model_validate(round_.tally) if round_.tally else None,
    )


def _turns(turns: Iterable[Turn]) -> Iterable[t.TurnState]:
    for turn in turns:
        done = turn.status == t.TurnStatus.COMPLETED
        yield t.TurnState(
            id=str(turn.id),
            seat=str(turn.seat_id) if turn.seat_id else None,
            kind=t.TurnKind(turn.kind),
            ordinal=turn.ordinal,
            status=t.TurnStatus(turn.status),
            answer=answer_of(turn) if done and turn.kind == t.TurnKind.ANSWER else None,
            ballot=ballot_of(turn) if done and turn.kind == t.TurnKind.BALLOT else None,
        )


def answer_of(turn: Turn) -> t.Answer:
    return t.Answer.model_validate((turn.result or {})["answer"])


def ballot_of(turn: Turn) -> t.Ballot:
    ballot = turn.ballot
    return t.Ballot(ranking=tuple(ballot.ranking), scores=ballot.scores, abstain=ballot.abstain)
