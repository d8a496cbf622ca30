"""What moves a run: finishing turns, and applying what the pure ``next_step`` says comes next.

Every function that changes a run takes the session's lock first and does everything in that one transaction: the turn's result,
its event, the next turns and their nudges. There is no other writer, so there is nothing to reconcile.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from council import budgets, claims, events, steps
from council.claims import Claim
from council.deliberation import types as t
from council.deliberation.protocol import next_step
from council.models import Ballot, CouncilSession, LlmCall, Run, Turn
from council.state import load
from council.states import OPEN_TURNS, SessionStatus, TurnStatus
from realtime import log, nudge

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
        _end(turn, TurnStatus.COMPLETED)
        if finished.ballot is not None:
            Ballot.objects.create(turn=turn, round=turn.round, seat_id=turn.seat_id, **finished.ballot)
            log.append(session, events.ballot_cast(turn))
        log.append(session, events.turn_moved(turn, "completed"))
        advance(session, turn.round.run)
        _settle(session, finished.settlement)
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
        _end(turn, TurnStatus.COMPLETED)
        log.append(session, events.turn_moved(turn, "completed"), events.tally_computed(round_.run, round_))
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
        if _may_retry(turn, failure):
            _retry(session, turn, failure.retry_in or 0)
        else:
            fail_turn(session, turn)
        _settle(session, failure.settlement)


def _may_retry(turn: Turn, failure: Failure) -> bool:
    if failure.retry_in is None or turn.model_errors >= settings.TURN_MODEL_ERRORS_MAX:
        return False
    again_at = timezone.now() + timedelta(seconds=failure.retry_in)
    return turn.deadline_at is None or again_at < turn.deadline_at


def _retry(session: CouncilSession, turn: Turn, seconds: float) -> None:
    release(turn, seconds)
    log.append(session, events.turn_moved(turn, "retrying", retry_in_s=round(seconds, 2)))


def release(turn: Turn, seconds: float = 0) -> None:
    """Give a running turn back so that it can be claimed again after ``seconds``. Only under the session's lock."""
    now = timezone.now()
    turn.status = TurnStatus.PENDING
    turn.lease_token = turn.lease_expires_at = None
    turn.not_before = now + timedelta(seconds=seconds)
    turn.dispatched_at = now
    turn.save(
        update_fields=[
            *("status", "lease_token", "lease_expires_at", "not_before", "dispatched_at"),
            *("model_errors", "error", "error_detail"),
        ]
    )
    steps.dispatch(turn, delay_s=seconds)


def fail_turn(session: CouncilSession, turn: Turn) -> None:
    """End a turn without a result and move on. Only under the session's lock."""
    _end(turn, TurnStatus.FAILED)
    log.append(session, events.turn_moved(turn, "failed"))
    advance(session, turn.round.run)


def expire(turn_id: UUID) -> None:
    """Fail a turn whose deadline passed while nobody held it."""
    session_id = Turn.objects.values_list("session_id", flat=True).get(pk=turn_id)
    with transaction.atomic():
        session = claims.lock_session(session_id)
        turn = claims.lock_turn(turn_id)
        passed = turn.deadline_at is not None and turn.deadline_at <= timezone.now()
        if session is None or session.status != SessionStatus.RUNNING or turn.status not in OPEN_TURNS or not passed:
            return
        turn.error = turn.error or "deadline"
        fail_turn(session, turn)


def exhaust(session: CouncilSession, run: Run, why: str) -> None:
    """Out of time or budget: cancel what runs and let the protocol conclude with what there is. Under the session's lock."""
    if run.exhausted:
        return
    run.exhausted = why
    run.save(update_fields=["exhausted"])
    cancel_open_turns(session, run)
    advance(session, run)


def cancel_open_turns(session: CouncilSession, run: Run) -> None:
    """Cancel every turn that has not ended; their workers are fenced off now and told within a heartbeat."""
    rows = Turn.objects.select_for_update(no_key=True, of=("self",)).select_related("round__run")
    for turn in rows.filter(round__run=run, status__in=OPEN_TURNS).order_by("id"):
        _end(turn, TurnStatus.CANCELLED)
        log.append(session, events.turn_moved(turn, "cancelled"))
        nudge.forget_partial(str(turn.id))


def advance(session: CouncilSession, run: Run) -> None:
    """Ask ``next_step`` and do what it says until turns are outstanding or the run has ended. Under the session's lock."""
    if Turn.objects.filter(round__run=run, status__in=OPEN_TURNS).exists():
        return  # the round barrier: whoever finishes last comes past here
    while run.status == SessionStatus.RUNNING:
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


def _end(turn: Turn, status: TurnStatus) -> None:
    turn.status = status
    turn.lease_token = turn.lease_expires_at = None
    turn.finished_at = timezone.now()
    turn.save(
        update_fields=[
            *("status", "lease_token", "lease_expires_at", "finished_at", "result", "evidence"),
            *("model_errors", "error", "error_detail"),
        ]
    )


def _settle(session: CouncilSession, settlement: Settlement | None) -> None:
    """Last in the transaction: budgets come last in the lock order."""
    if settlement is None:
        return
    settle_call(settlement)
    if (budget := budgets.warn_once(session.id)) is not None:
        log.append(session, events.budget_event("warning", budget))


def _settle_alone(settlement: Settlement | None) -> None:
    if settlement is not None:
        settle_call(settlement)


def settle_call(settlement: Settlement) -> bool:
    """Record how a call ended and charge it; False when the sweeper had already settled it as lost."""
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
        return False
    budgets.settle(call, settlement.prompt_tokens + settlement.completion_tokens)
    return True


