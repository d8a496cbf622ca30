"""What moves a run: finishing turns, and applying what the pure ``next_step`` says comes next.

Every function that changes a run takes the session's lock first and does everything in that one transaction: the turn's result,
its event, the next turns and their nudges. There is no other writer, so there is nothing to reconcile.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from council import budgets, claims, events, sql, steps, turns
from council.budgets import Settlement
from council.claims import Claim
from council.deliberation import types as t
from council.deliberation.protocol import next_step
from council.models import Budget, CouncilSession, Run, Turn
from council.state import load
from council.states import OPEN_TURNS, SessionStatus, TurnStatus
from realtime import log

logger = logging.getLogger(__name__)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """What a worker brings back: the turn's result, what the seat was shown, and its last call's settlement."""

    result: Json
    evidence: list[Json] = field(default_factory=list)
    ballot: Json | None = None  # order, ranking, scores, abstain
    settlement: Settlement | None = None


_COMPLETE = """
    UPDATE council_turn
    SET status = 'completed', lease_token = NULL, lease_expires_at = NULL, finished_at = clock_timestamp(),
        result = %s, evidence = %s, error = '', error_detail = ''
    WHERE id = %s RETURNING finished_at
"""
_CAST = """
    INSERT INTO council_ballot (turn_id, round_id, seat_id, "order", ranking, scores, abstain, created_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp())
"""
_STILL_OPEN = "SELECT 1 FROM council_turn WHERE round_id = %s AND status IN ('pending', 'running') LIMIT 1"


def finish(finished: Sequence[tuple[Claim, Finished]]) -> set[UUID]:
    """Commit the results of claimed turns of one session, and whatever follows from them, in one transaction.

    Returns the turns that were completed. Of those that are missing, which were fenced off, nothing is stored but the charge.
    """
    session_id = finished[0][0].session_id
    with transaction.atomic():
        held = claims.lock_held(session_id, [claim for claim, _ in finished])
        session = CouncilSession(pk=session_id)
        told: list[log.NewEvent] = []
        for claim, one in finished:
            if claim.turn_id in held:
                told += _store(session, claim, one)
            else:
                _settle_alone(one.settlement)
        log.append(session, *told)
        for round_id, run in {claim.round_id: _run_of(claim) for claim, _ in finished if claim.turn_id in held}.items():
            # The round barrier: whoever finishes last comes past here with nothing open, and opens what follows.
            if sql.row(_STILL_OPEN, [round_id]) is None:
                _advance(run)
    return held


def _store(session: CouncilSession, claim: Claim, finished: Finished) -> list[log.NewEvent]:
    """One turn's ballot, charge and result; the events that tell of them."""
    before = []
    if finished.ballot is not None:
        _cast(claim, finished.ballot)
        before = [events.ballot_cast(claim)]
    usage = _settle(session, finished.settlement)
    return [*before, _complete(claim, finished, usage)]


def finish_tally(claim: Claim, tally: t.Tally) -> bool:
    """Commit a count: it closes its round and opens what follows. False: fenced off."""
    with transaction.atomic():
        if not claims.lock_one(claim):
            return False
        counted = tally.model_dump(mode="json")
        sql.change("UPDATE council_round SET tally = %s WHERE id = %s", [Jsonb(counted), claim.round_id])
        done = _complete(claim, Finished({"winner": tally.winner}), {})
        log.append(CouncilSession(pk=claim.session_id), done, events.tally_computed(claim, counted))
        _advance(_run_of(claim))
    return True


def _run_of(claim: Claim) -> steps.RunRef:
    return steps.RunRef(claim.session_id, claim.run_id, claim.run_number)


def _complete(claim: Claim, finished: Finished, usage: Json) -> log.NewEvent:
    """Store the result; the event that tells of it."""
    done = sql.row(_COMPLETE, [Jsonb(finished.result), Jsonb(finished.evidence), claim.turn_id])
    if done is None:
        raise RuntimeError("a turn that is held is there")
    return events.turn_completed(claim, done[0], finished.result, finished.evidence, usage)


def _cast(claim: Claim, ballot: Json) -> None:
    papers = [Jsonb(ballot[part]) for part in ("order", "ranking", "scores")]
    sql.change(_CAST, [claim.turn_id, claim.round_id, claim.seat, *papers, ballot["abstain"]])


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not succeed. ``retry_in`` seconds, or None when it must not be tried again."""

    code: str
    detail: str
    retry_in: float | None
    blame_model: bool = True
    settlement: Settlement | None = None


def fail_attempt(claim: Claim, failure: Failure) -> None:
    """Back to pending while there is time and patience, else failed; a failed turn still counts, so its round always ends."""
    with transaction.atomic():
        if not claims.lock_one(claim):
            _settle_alone(failure.settlement)
            return
        turn = claims.lock_turn(claim.turn_id)
        session = turn.session
        turn.error, turn.error_detail = failure.code, failure.detail[:500]
        turn.model_errors += failure.blame_model
        usage = _settle(session, failure.settlement)
        if _may_retry(turn, failure):
            turns.release(session, turn, seconds=failure.retry_in or 0, **usage)
        else:
            _fail_turn(session, turn, **usage)


def _may_retry(turn: Turn, failure: Failure) -> bool:
    if failure.retry_in is None or turn.model_errors >= settings.TURN_MODEL_ERRORS_MAX:
        return False
    again_at = timezone.now() + timedelta(seconds=failure.retry_in)
    return turn.deadline_at is None or again_at < turn.deadline_at


def expire(turn_id: UUID) -> None:
    """Fail a turn whose deadline passed while nobody held it."""
    with transaction.atomic():
        session = claims.lock_session_of(turn_id)
        turn = claims.lock_turn(turn_id)
        passed = turn.deadline_at is not None and turn.deadline_at <= timezone.now()
        if session.status != SessionStatus.RUNNING or turn.status not in OPEN_TURNS or not passed:
            return
        turn.error = turn.error or "deadline"
        _fail_turn(session, turn)


def exhaust(session: CouncilSession, run: Run, why: str) -> None:
    """Out of time or budget: cancel what runs and let the protocol conclude with what there is. Under the session's lock."""
    if run.exhausted:
        return
    run.exhausted = why
    run.save(update_fields=["exhausted"])
    if why == "budget":
        log.append(session, events.budget_event("exhausted", Budget.objects.get(session=session)))
    turns.cancel_open(session, run, spare_tally=True)
    advance(session, run)


def _fail_turn(session: CouncilSession, turn: Turn, **usage: Json) -> None:
    """End a turn without a result; a failed turn still counts, so its round always ends."""
    turns.end(session, turn, TurnStatus.FAILED, **usage)
    advance(session, turn.round.run, lost_a_seat=True)


def advance(session: CouncilSession, run: Run, *, lost_a_seat: bool = False) -> None:
    """Move a run on from outside a finished turn. Under the session's lock.

    While turns are open there is nothing to do but after the loss of a seat, which can matter at once (a stand-in for the chair,
    a quorum out of reach).
    """
    if lost_a_seat or not Turn.objects.filter(round__run=run, status__in=OPEN_TURNS).exists():
        _advance(steps.RunRef(session.pk, run.pk, run.number))


def _advance(run: steps.RunRef) -> None:
    """Ask ``next_step`` and do what it says until turns are outstanding or the run has ended."""
    state = load(run.run_id)
    while True:
        step = next_step(state)
        steps.apply(run, state, step)
        if not isinstance(step, t.CloseRound):
            return
        rounds = tuple(_closed(round_) if round_.number == step.number else round_ for round_ in state.rounds)
        state = state.model_copy(update={"rounds": rounds})


def _closed(round_: t.RoundState) -> t.RoundState:
    return round_.model_copy(update={"closed": True})


def _settle(session: CouncilSession, settlement: Settlement | None) -> Json:
    """Store and charge the turn's last call; ``{"usage": …}`` for the event that tells of the turn's end, {} without a call."""
    settled = budgets.settle(settlement) if settlement is not None else None
    if settled is None:
        return {}
    if settled.high and not settled.warned and budgets.warn_once(session.pk):
        log.append(session, events.budget_event("warning", Budget.objects.get(session=session.pk)))
    return {"usage": {"tokens": settled.tokens_used, "calls": settled.calls}}


def _settle_alone(settlement: Settlement | None) -> None:
    if settlement is not None:
        budgets.settle(settlement)
