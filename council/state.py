"""The stored run as the pure package sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any
from uuid import UUID

from council import sql
from council.deliberation import types as t
from council.models import Run


def protocol_of(run: Run) -> t.Protocol:
    return t.Protocol.model_validate(run.protocol)


_RUN = """
    SELECT run.protocol::text, run.seed, run.exhausted, session.options::text, seats.seats::text
    FROM council_run AS run JOIN council_councilsession AS session ON session.id = run.session_id
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object('id', id, 'position', position, 'chair', chair, 'human', model = 'human')
               ORDER BY position) AS seats
        FROM council_seat WHERE session_id = session.id
    ) AS seats
    WHERE run.id = %s
"""
_ROUNDS = """
    SELECT round.number, round.stage, round.closed_at IS NOT NULL, round.tally, turn.id::text, turn.seat_id::text, turn.kind,
           turn.ordinal, turn.status, turn.result, turn.error = 'not_needed',
           turn.evidence = '[]' AND coalesce(turn.result -> 'searches' <> '[]', true)
               OR turn.result -> 'citations' @> '[{"status": "verified"}]',
           CASE WHEN ballot.id IS NOT NULL THEN
               jsonb_build_object('ranking', ballot.ranking, 'scores', ballot.scores, 'abstain', ballot.abstain) END
    FROM council_round AS round
    LEFT JOIN council_turn AS turn ON turn.round_id = round.id AND turn.kind <> 'reply'
    LEFT JOIN council_ballot AS ballot ON ballot.turn_id = turn.id
    WHERE round.run_id = %s ORDER BY round.number, turn.created_at, turn.id
"""


def load(run_id: UUID) -> t.RunState:
    """Read the whole run (2 statements), without the replies that were given beside it.

    Call it under the session's lock when what it says is acted upon."""
    found = sql.row(_RUN, [run_id])
    if found is None:
        raise Run.DoesNotExist
    protocol, seed, exhausted, options, seats = found
    return t.RunState(
        protocol=t.Protocol.model_validate_json(protocol),
        seats=tuple(t.SeatState.model_validate(seat) for seat in json.loads(seats)),
        options=tuple(json.loads(options)),
        rounds=tuple(_rounds(sql.rows(_ROUNDS, [run_id]))),
        seed=seed,
        exhausted=exhausted or None,
    )


def _rounds(found: list[tuple[Any, ...]]) -> Iterator[t.RoundState]:
    for (number, stage, closed, tally), group in groupby(found, key=lambda row: row[:4]):
        yield t.RoundState(
            number=number,
            stage=t.Stage(stage),
            closed=closed,
            turns=tuple(_turn(row[4:]) for row in group if row[4] is not None),
            tally=t.Tally.model_validate_json(tally) if tally else None,
        )


def _turn(row: tuple[Any, ...]) -> t.TurnState:
    identity, seat, kind, ordinal, status, result, released, grounded, ballot = row
    done = status == t.TurnStatus.COMPLETED
    said = json.loads(result) if done and result else {}
    return t.TurnState(
        id=identity,
        seat=seat,
        kind=t.TurnKind(kind),
        ordinal=ordinal,
        status=t.TurnStatus(status),
        answer=t.Answer.model_validate(said["answer"]) if kind == t.TurnKind.ANSWER and said else None,
        ballot=t.Ballot.model_validate_json(ballot) if done and ballot else None,
        attack=t.Attack.model_validate(said["attack"]) if kind == t.TurnKind.ATTACK and said else None,
        gate=t.GateAnswer.model_validate(said["gate"]) if kind == t.TurnKind.GATE and said else None,
        verdict=t.Verdict.model_validate(said["verdict"]) if kind == t.TurnKind.RATIFY and said else None,
        grounded=bool(grounded),
        released=released,
    )
