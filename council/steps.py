"""Applying one step of the protocol to the database. Called only by ``orchestrator.advance``, under the session's lock."""

from __future__ import annotations

from uuid import UUID

from django.utils import timezone

from council import decisions, events, turns
from council.deliberation import types as t
from council.models import CouncilSession, Message, Round, Run, Turn
from council.states import RunStatus, SessionStatus
from realtime import log


def apply(session: CouncilSession, run: Run, state: t.RunState, step: t.Step) -> None:
    match step:
        case t.Ask():
            _ask(session, run, state, step)
        case t.CloseRound():
            _close(session, run, step)
        case t.Conclude():
            _conclude(session, run, state, step)
        case t.Wait():
            return


def _ask(session: CouncilSession, run: Run, state: t.RunState, step: t.Ask) -> None:
    if any(round_.number == step.number for round_ in state.rounds):
        round_ = Round.objects.get(run=run, number=step.number)
    else:
        round_ = _open_round(session, run, step)
    for turn in _insert(session, round_, step):
        turns.dispatch(turn)


def _open_round(session: CouncilSession, run: Run, step: t.Ask) -> Round:
    round_ = Round.objects.create(run=run, number=step.number, stage=step.stage, opened_at=timezone.now())
    _deliver_messages(session, round_)
    session.round = step.number
    session.save(update_fields=["round"])
    asked = [turn.seat for turn in step.turns if turn.seat is not None]
    log.append(session, events.round_started(run, round_, asked))
    return round_


def _insert(session: CouncilSession, round_: Round, step: t.Ask) -> list[Turn]:
    now = timezone.now()
    return Turn.objects.bulk_create(
        Turn(
            session=session,
            round=round_,
            seat_id=UUID(new.seat) if new.seat else None,
            kind=new.kind,
            ordinal=new.ordinal,
            not_before=now,
            dispatched_at=now,
        )
        for new in step.turns
    )


def _deliver_messages(session: CouncilSession, round_: Round) -> None:
    """A stage boundary: what people said since the last one is read by the seats of this round."""
    Message.objects.filter(session=session, delivered_in=None).update(delivered_in=round_)


def _close(session: CouncilSession, run: Run, step: t.CloseRound) -> None:
    round_ = Round.objects.get(run=run, number=step.number)
    round_.closed_at = timezone.now()
    round_.save(update_fields=["closed_at"])
    log.append(session, events.round_closed(run, round_))


def _conclude(session: CouncilSession, run: Run, state: t.RunState, step: t.Conclude) -> None:
    turns.cancel_open(session, run)  # a quorum out of reach is not waited for
    if step.status == "completed":
        decision = decisions.record(session, run, state, step)
        log.append(session, events.decision_reached(decision))
    end_run(session, run, RunStatus(step.status), step.reason)


def end_run(session: CouncilSession, run: Run, status: RunStatus, reason: str = "") -> None:
    """Close the run and let the session mirror it. Rounds left open (a stop, a failure) are closed with it."""
    now = timezone.now()
    for round_ in Round.objects.filter(run=run, closed_at=None):
        round_.closed_at = now
        round_.save(update_fields=["closed_at"])
        log.append(session, events.round_closed(run, round_))
    run.status, run.reason, run.finished_at = status, reason, now
    run.save(update_fields=["status", "reason", "finished_at"])
    session.status, session.finished_at = SessionStatus(status), now
    session.version += 1
    session.save(update_fields=["status", "finished_at", "version"])
    log.append(session, events.session_moved(session, status.value, reason=reason))
