"""What moves a run: finishing turns, and applying what the pure ``next_step`` says comes next.

Every function that changes a run takes the session's lock first and does everything in that one transaction: the turn's result,
its event, the next turns and their nudges. There is no other writer, so there is nothing to reconcile.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from council import budgets, claims, events, news, sql, steps, tallying, turns
from council.budgets import Settlement
from council.claims import Claim
from council.deliberation import types as t
from council.deliberation.protocol import next_step
from council.models import Budget, CouncilSession, Run, Turn
from council.refs import RunRef
from council.serial import usage_json
from council.state import load
from council.states import OPEN_TURNS, SERVING, SessionStatus, TurnStatus
from realtime import log
from realtime.failpoints import failpoint

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
    UPDATE council_turn AS turn
    SET status = 'completed', lease_token = NULL, lease_expires_at = NULL, finished_at = clock_timestamp(),
        result = done.result, evidence = done.evidence, error = '', error_detail = ''
    FROM jsonb_to_recordset(%s) AS done(id uuid, result jsonb, evidence jsonb)
    WHERE turn.id = done.id RETURNING turn.id, turn.finished_at
"""
_CAST = """
    INSERT INTO council_ballot (turn_id, round_id, seat_id, "order", ranking, scores, abstain, created_at)
    SELECT paper.turn, paper.round, paper.seat, paper."order", paper.ranking, paper.scores, paper.abstain, clock_timestamp()
    FROM jsonb_to_recordset(%s) AS paper(
        turn uuid, round uuid, seat uuid, "order" jsonb, ranking jsonb, scores jsonb, abstain boolean
    )
"""
# Ballots that only wait to be asked (again) hold nobody up: they may not be needed any more.
_STILL_OPEN = """
    SELECT 1 FROM council_turn AS turn JOIN council_round AS round ON round.id = turn.round_id
    WHERE round.id = %s AND (turn.status = 'running' OR turn.status = 'pending' AND round.stage <> 'ballot') LIMIT 1
"""

Results = Sequence[tuple[Claim, Finished]]


class Next(NamedTuple):
    """Turns that the worker which finished the last ones goes on with, and the run as they find it (None: not read yet)."""

    claims: Sequence[Claim]
    state: t.RunState | None = None


class Stored(NamedTuple):
    """Of turns that are missing in ``completed``, which were fenced off, nothing is stored but the charge."""

    completed: set[UUID]
    next: list[Next]


def finish(results: Results, taker: str = "") -> Stored:
    """Commit the results of claimed turns of one session, and whatever follows from them, in one transaction; what is asked next
    can be the ``taker``'s at once (``steps.apply``)."""
    session = CouncilSession(pk=results[0][0].session_id)
    following: list[Next | None] = []
    with transaction.atomic(), log.gathering():
        held, running = claims.lock_held(session.pk, [claim for claim, _ in results])
        ours = [(claim, finished) for claim, finished in results if claim.turn_id in held]
        budgets.settle([one.settlement for claim, one in results if claim.turn_id not in held and one.settlement])
        if ours:
            _cast(ours)
            usage = _settle(session, [one.settlement for _, one in ours if one.settlement])
            _complete(session, ours, usage)
        moved = {claim.round_id: _run_of(claim) for claim, _ in ours if claim.kind != t.TurnKind.REPLY}
        for round_id, run in moved.items():
            # The round barrier: whoever finishes last comes past here with nothing open, and opens what follows.
            if running and sql.row(_STILL_OPEN, [round_id]) is None:
                following.append(_advance(run, taker))
        failpoint("council.finish.stored")
    failpoint("council.finish.committed")
    return Stored(held, [one for one in following if one is not None])


def finish_tally(claim: Claim, tally: t.Tally) -> None:
    """Store a count: it closes its round and opens what follows. In the transaction of the claim, so nobody can fence it off."""
    session = CouncilSession(pk=claim.session_id)
    counted = tally.model_dump(mode="json")
    sql.change("UPDATE council_round SET tally = %s WHERE id = %s", [Jsonb(counted), claim.round_id])
    _complete(session, [(claim, Finished({"winner": tally.winner}))], {})
    log.append(session, events.tally_computed(claim, counted))
    _advance(_run_of(claim))
    failpoint("council.tally.stored")


def _run_of(claim: Claim) -> RunRef:
    return RunRef(claim.session_id, claim.run_id, claim.run_number)


def _complete(session: CouncilSession, results: Results, usage: Json) -> None:
    """Store the results and tell of them. Ballots are announced just before the end of their turns."""
    rows = [{"id": str(c.turn_id), "result": one.result, "evidence": one.evidence} for c, one in results]
    ended = dict(sql.rows(_COMPLETE, [Jsonb(rows)]))
    for claim, one in results:
        if one.ballot is not None:
            log.append(session, events.ballot_cast(claim))
        done = events.turn_completed(claim, ended[claim.turn_id], one.result, one.evidence, usage)
        log.append(session, done)


def _cast(results: Results) -> None:
    papers = [
        {"turn": str(claim.turn_id), "round": str(claim.round_id), "seat": str(claim.seat), **one.ballot}
        for claim, one in results
        if one.ballot is not None
    ]
    if papers:
        sql.change(_CAST, [Jsonb(papers)])


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
        charged = [failure.settlement] if failure.settlement is not None else []
        if not claims.lock_one(claim):
            budgets.settle(charged)
            return
        turn = claims.lock_turn(claim.turn_id)
        session = turn.session
        turn.error, turn.error_detail = failure.code, failure.detail[:500]
        turn.model_errors += failure.blame_model
        usage = _settle(session, charged)
        if _may_retry(turn, failure):
            turns.release(session, turn, seconds=failure.retry_in or 0, **usage)
            if turn.kind == t.TurnKind.BALLOT:
                advance(session, turn.round.run, ballot_waits=True)
        else:
            _fail_turn(session, turn, **usage)
        failpoint("council.fail_attempt.stored")
    failpoint("council.fail_attempt.committed")


def hand_back(parts: Sequence[tuple[Claim, Settlement | None]]) -> None:
    """Attempts of one session that a worker breaks off because it is to end: their turns are pending again and dispatched at once.

    Nothing is counted against them, for neither a model nor a seat failed. What their calls cost is charged, also of those that
    were fenced off.
    """
    with transaction.atomic(), log.gathering():
        held = claims.lock_held(parts[0][0].session_id, [claim for claim, _ in parts]).turns
        for claim, cost in parts:
            usage = _settle(CouncilSession(pk=claim.session_id), [cost] if cost is not None else [])
            if claim.turn_id in held:
                turn = claims.lock_turn(claim.turn_id)
                turns.release(turn.session, turn, **usage)


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
        served = SERVING if turn.kind == t.TurnKind.REPLY else (SessionStatus.RUNNING,)
        if session.status not in served or turn.status not in OPEN_TURNS or not passed:
            return
        turn.error = turn.error or "deadline"
        _fail_turn(session, turn)
        failpoint("council.expire.stored")
    failpoint("council.expire.committed")


def exhaust(session: CouncilSession, run: Run, why: str) -> None:
    """Out of time or budget: cancel what runs and let the protocol conclude with what there is. Under the session's lock."""
    if run.exhausted:
        return
    run.exhausted = why
    run.save(update_fields=["exhausted"])
    with log.gathering():
        if why == "budget":
            log.append(session, events.budget_event("exhausted", Budget.objects.get(session=session)))
            news.budget_exhausted(session)
        turns.cancel_open(session, run, spare_tally=True)
        advance(session, run)


def _fail_turn(session: CouncilSession, turn: Turn, **usage: Json) -> None:
    """End a turn without a result; a failed turn still counts, so its round always ends."""
    turns.end(session, turn, TurnStatus.FAILED, **usage)
    if turn.kind != t.TurnKind.REPLY:
        advance(session, turn.round.run, lost_a_seat=True)


def resume(session: CouncilSession, run: Run) -> None:
    """Go on where a pause held the run up. Under the session's lock."""
    waiting = Turn.objects.filter(round__run=run, status=TurnStatus.PENDING, human=False)
    turns.dispatch(session.pk, list(waiting.values_list("pk", "kind")))
    _advance(RunRef(session.pk, run.pk, run.number))


def advance(session: CouncilSession, run: Run, *, lost_a_seat: bool = False, ballot_waits: bool = False) -> None:
    """Move a run on from outside a finished turn. Under the session's lock.

    While turns are open there is nothing to do but after the loss of a seat, which can matter at once (a stand-in for the chair,
    a quorum out of reach), or when a ballot must be asked again, which may not be needed.
    """
    if session.status == SessionStatus.PAUSED:
        return  # nothing new begins, and nothing ends, before it is resumed
    awaited = Turn.objects.filter(round__run=run, status__in=OPEN_TURNS).exclude(kind=t.TurnKind.REPLY)
    if lost_a_seat or ballot_waits or not awaited.exists():
        _advance(RunRef(session.pk, run.pk, run.number))


def _advance(run: RunRef, taker: str = "") -> Next | None:
    """Ask ``next_step`` and do what it says until turns are outstanding or the run has ended."""
    state = load(run.run_id)
    while True:
        step = next_step(state)
        counted = tallying.at_once(run, state, step)
        if counted is not None:
            state = counted
            continue
        taken = steps.apply(run, state, step, taker)
        if isinstance(step, t.Ask) and taken:
            return Next(taken, _asked(state, step, taken))
        if not isinstance(step, t.CloseRound | t.Release):
            return None
        rounds = tuple(_after(round_, step) if round_.number == step.number else round_ for round_ in state.rounds)
        state = state.model_copy(update={"rounds": rounds})


def _asked(state: t.RunState, step: t.Ask, taken: Sequence[Claim]) -> t.RunState:
    """The run with the turns in it that were taken as they were asked."""
    new = tuple(
        t.TurnState(
            id=str(claim.turn_id),
            seat=str(claim.seat),
            kind=t.TurnKind(claim.kind),
            ordinal=claim.ordinal,
            status=t.TurnStatus.RUNNING,
        )
        for claim in taken
    )
    *before, last = state.rounds
    if last.number == step.number:
        return state.model_copy(update={"rounds": (*before, last.model_copy(update={"turns": (*last.turns, *new)}))})
    opened = t.RoundState(number=step.number, stage=step.stage, closed=False, turns=new)
    return state.model_copy(update={"rounds": (*state.rounds, opened)})


def _after(round_: t.RoundState, step: t.CloseRound | t.Release) -> t.RoundState:
    if isinstance(step, t.CloseRound):
        return round_.model_copy(update={"closed": True})
    gone = {"status": t.TurnStatus.CANCELLED, "released": True}
    changed = tuple(one.model_copy(update=gone) if one.id in step.turns else one for one in round_.turns)
    return round_.model_copy(update={"turns": changed})


def _settle(session: CouncilSession, settlements: Sequence[Settlement]) -> Json:
    """Store and charge the last calls of turns; ``{"usage": …}`` for the events that tell of the turns' ends, {} without a call."""
    settled = budgets.settle(settlements)
    if settled is None:
        return {}
    if settled.high and not settled.warned and budgets.warn_once(session.pk):
        log.append(session, events.budget_event("warning", Budget.objects.get(session=session.pk)))
    return {"usage": usage_json(settled.tokens, settled.usd, settled.calls, settled.seconds)}
