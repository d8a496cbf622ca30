"""What moves a run: finishing turns, and applying what the pure ``next_step`` says comes next.

Every function that changes a run takes the session's lock first and does everything in that one transaction: the turn's result,
its event, the next turns and their nudges. There is no other writer, so there is nothing to reconcile.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from council import budgets, claims, events, steps, turns
from council.claims import Claim
from council.deliberation import types as t
from council.deliberation.protocol import next_step
from council.models import Ballot, Budget, CouncilSession, LlmCall, Run, Turn
from council.state import load
from council.states import OPEN_TURNS, RunStatus, SessionStatus, TurnStatus
from realtime import log

logger = logging.getLogger(__name__)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one model call turned out to be; stored with the turn it belongs to, or alone when that turn was lost."""

    call: LlmCall
    status: LlmCall.Status
    response: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    ttft_ms: float | None = None
    latency_ms: float | None = None
    error: str = ""
    error_detail: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a worker brings back: the turn's result, what the seat was shown, and its last call's settlement."""

    result: Json
    evidence: list[Json] = field(default_factory=list)
    ballot: Json | None = None  # order, ranking, scores, abstain
    settlement: Settlement | None = None


def finish(claim: Claim, finished: Finished) -> bool:
    """Commit the result of a claimed turn and whatever follows from it. False: fenced off, nothing was changed but the charge."""
    with transaction.atomic():
        session, turn = _held(claim)
        if turn is None or session is None:
            _settle_alone(finished.settlement)
            return False
        turn.result, turn.evidence = finished.result, finished.evidence
        turn.error = turn.error_detail = ""
        if finished.ballot is not None:
            Ballot.objects.create(turn=turn, round=turn.round, seat_id=claim.seat, **finished.ballot)
            log.append(session, events.ballot_cast(turn))
        turns.end(session, turn, TurnStatus.COMPLETED, **_settle(session, finished.settlement))
        advance(session, turn.round.run)
    return True


def finish_tally(claim: Claim, tally: t.Tally) -> bool:
    """Commit a count: it closes its round and opens what follows."""
    with transaction.atomic():
        session, turn = _held(claim)
        if turn is None or session is None:
            return False
        round_ = turn.round
        round_.tally = tally.model_dump(mode="json")
        round_.save(update_fields=["tally"])
        turn.result = {"winner": tally.winner}
        turns.end(session, turn, TurnStatus.COMPLETED)
        log.append(session, events.tally_computed(round_.run, round_))
        advance(session, round_.run)
    return True


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
        session, turn = _held(claim)
        if turn is None or session is None:
            _settle_alone(failure.settlement)
            return
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
    """Ask ``next_step`` and do what it says until turns are outstanding or the run has ended. Under the session's lock.

    The round barrier: while turns are open there is nothing to do, and whoever finishes last comes past here. Only the loss of a
    seat can matter earlier (a stand-in for the chair, a quorum out of reach).
    """
    if not lost_a_seat and Turn.objects.filter(round__run=run, status__in=OPEN_TURNS).exists():
        return
    while run.status == RunStatus.RUNNING:
        state = load(session, run)
        step = next_step(state)
        if isinstance(step, t.Wait):
            return
        steps.apply(session, run, state, step)
        if isinstance(step, t.Ask):
            return


def _held(claim: Claim) -> tuple[CouncilSession | None, Turn | None]:
    session = claims.lock_session(claim.session_id)
    if session is None:
        return None, None
    return session, claims.held_turn(claim)


def _settle(session: CouncilSession, settlement: Settlement | None) -> dict[str, Json]:
    """Store and charge the turn's last call; ``{"usage": …}`` for the event that tells of the turn's end, {} without a call."""
    settled = settle_call(settlement) if settlement is not None else None
    if settled is None:
        return {}
    if settled.high and not settled.warned and budgets.warn_once(session.id):
        log.append(session, events.budget_event("warning", Budget.objects.get(session=session)))
    return {"usage": {"tokens": settled.tokens_used, "calls": settled.calls}}


def _settle_alone(settlement: Settlement | None) -> None:
    if settlement is not None:
        settle_call(settlement)


def settle_call(settlement: Settlement) -> budgets.Settled | None:
    """Record how a call ended and charge it; None when the sweeper had already settled it as lost."""
    call = settlement.call
    changed = LlmCall.objects.filter(pk=call.pk, status=LlmCall.Status.RUNNING).update(
        status=settlement.status,
        response=settlement.response,
        prompt_tokens=settlement.prompt_tokens,
        completion_tokens=settlement.completion_tokens,
        estimated=settlement.estimated,
        ttft_ms=settlement.ttft_ms,
        latency_ms=settlement.latency_ms,
        error=settlement.error,
        error_detail=settlement.error_detail[:500],
        finished_at=timezone.now(),
    )
    if changed != 1:
        return None
    return budgets.settle(call, settlement.prompt_tokens + settlement.completion_tokens)
