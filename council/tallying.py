"""A count that is made where its round ends, in the transaction of whoever finished last.

A task of its own for every count cost a stage 12 to 20 ms when measured (two messages, a claim, a commit, the run read anew), of
which the count itself took one. What has to ask a model first, which open answers say the same, stays a task of its own
(``runner.run_tally``), and so does a count that fails here: there it fails alone, and says so.
"""

from __future__ import annotations

import logging

from psycopg.types.json import Jsonb

from council import counting, events, sql
from council.claims import Claim
from council.deliberation import types as t
from council.refs import RunRef
from realtime import log
from realtime.failpoints import failpoint
from realtime.ids import uuid7

logger = logging.getLogger(__name__)

_COUNTED = """
    WITH round AS (
        UPDATE council_round SET tally = %(tally)s WHERE run_id = %(run)s AND number = %(number)s RETURNING id, sealed
    )
    INSERT INTO council_turn (id, session_id, round_id, kind, ordinal, human, status, attempt, model_errors, worker, not_before,
                              evidence, result, error, error_detail, created_at, started_at, finished_at)
    SELECT %(turn)s, %(session)s, round.id, 'tally', 0, false, 'completed', 1, 0, '', moment.at,
           '[]', %(result)s, '', '', moment.at, moment.at, moment.at
    FROM round, (SELECT clock_timestamp() AS at) AS moment
    RETURNING round_id, finished_at, (SELECT sealed FROM round)
"""


def at_once(run: RunRef, state: t.RunState, step: t.Step) -> t.RunState | None:
    """Count, store and tell, if that is what comes next and nobody has to be asked first; the run with the count in it."""
    if not isinstance(step, t.Ask) or any(turn.kind is not t.TurnKind.TALLY for turn in step.turns):
        return None
    if counting.to_compare(state, step.number):
        return None
    try:
        tally = counting.count(state, step.number, None)
    except Exception:
        logger.exception("round %s of run %s could not be counted at once", step.number, run.run_id)
        return None
    stored = _store(run, state, step, tally)
    failpoint("council.tally.at_once")
    return _counted(state, step.number, tally, stored)


def _store(run: RunRef, state: t.RunState, step: t.Ask, tally: t.Tally) -> t.TurnState:
    counted, result, turn = tally.model_dump(mode="json"), {"winner": tally.winner}, uuid7()
    values = {
        "tally": Jsonb(counted),
        "run": run.run_id,
        "number": step.number,
        "turn": turn,
        "session": run.session_id,
        "result": Jsonb(result),
    }
    stored = sql.row(_COUNTED, values)
    if stored is None:
        raise RuntimeError("the round that was counted is not there")
    round_id, moment, sealed = stored
    place = (turn, run.session_id, run.run_id, run.number, state.seed, round_id, step.number, step.stage.value)
    claim = Claim(*place, t.TurnKind.TALLY.value, None, 0, 1, turn, moment, moment, "", "", sealed, None)
    done = events.turn_completed(claim, moment, result, [], {})
    log.append(run.stream, events.turn_claimed(claim), done, events.tally_computed(claim, counted))
    return t.TurnState(id=str(turn), seat=None, kind=t.TurnKind.TALLY, ordinal=0, status=t.TurnStatus.COMPLETED)


def _counted(state: t.RunState, number: int, tally: t.Tally, turn: t.TurnState) -> t.RunState:
    def after(round_: t.RoundState) -> t.RoundState:
        if round_.number != number:
            return round_
        return round_.model_copy(update={"tally": tally, "turns": (*round_.turns, turn)})

    return state.model_copy(update={"rounds": tuple(map(after, state.rounds))})
