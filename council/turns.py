"""Changes of a single turn, each with its event. Only under the session's lock; what follows from them is the orchestrator's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from council import events
from council.deliberation.types import TurnKind
from council.models import CouncilSession, Run, Turn
from council.states import OPEN_TURNS, SERVING, SessionStatus, TurnStatus
from realtime import log, nudge

RUN_TURNS, RUN_TALLY = "council.tasks.run_turns", "council.tasks.run_tally"
TOGETHER = 8  # seats that one worker takes at once; larger tables are spread over the workers
NOT_NEEDED = "not_needed"  # the code of a turn that was released; ``state.load`` reads it
STOOD_IN_FOR = {TurnKind.SYNTHESIS, TurnKind.ATTACK}  # when one of these fails, another seat is asked (ordinal 1)
# Turns that a worker may claim as far as their session goes; ``claims.claim`` sees again under its lock.
SERVED = Q(session__status=SessionStatus.RUNNING) | Q(kind=TurnKind.REPLY, session__status__in=SERVING)
_ERRORS = ("model_errors", "error", "error_detail")


def dispatch(session_id: UUID, asked: Iterable[tuple[UUID, str]], *, delay_s: float = 0) -> None:
    """Tell workers after the commit. ``asked``: (id, kind). The rows are the truth: what is lost here the sweeper sends again.

    Seats that are asked together go out as one message: one worker takes them, in one transaction, and keeps them apart from
    there on. (A message, a claim and a commit for each seat cost 14 ms a stage when measured.) Replies to people wait for nobody.
    """
    turns = [(str(turn_id), kind) for turn_id, kind in asked]
    seats = [turn for turn, kind in turns if kind not in {TurnKind.TALLY, TurnKind.REPLY}]
    together = [*_parts(seats), *([turn] for turn, kind in turns if kind == TurnKind.REPLY)]
    messages: list[tuple[str, str, list[str] | str]] = [(RUN_TURNS, "turns", some) for some in together]
    messages += [(RUN_TALLY, "control", turn) for turn, kind in turns if kind == TurnKind.TALLY]
    for name, queue, what in messages:
        send = partial(nudge.send_task, name, [str(session_id), what], queue, delay_s=delay_s)
        transaction.on_commit(send, robust=True)


def _parts(seats: list[str]) -> Iterator[list[str]]:
    return (seats[start : start + TOGETHER] for start in range(0, len(seats), TOGETHER))


def release(session: CouncilSession, turn: Turn, *, seconds: float = 0, **more: Any) -> None:
    """Give a running turn back so that it can be claimed again after ``seconds``; whoever runs it is fenced off."""
    now = timezone.now()
    turn.status = TurnStatus.PENDING
    turn.lease_token = turn.lease_expires_at = None
    turn.not_before = now + timedelta(seconds=seconds)
    turn.dispatched_at = now
    turn.save(update_fields=["status", "lease_token", "lease_expires_at", "not_before", "dispatched_at", *_ERRORS])
    log.append(session, events.turn_moved(turn, "retrying", retry_in_s=round(seconds, 2), **more))
    dispatch(session.pk, [(turn.id, turn.kind)], delay_s=seconds)


def final(turn: Turn) -> str:
    """Why a turn cannot be asked again; "" when it can. What counts is settled under the session's lock."""
    if turn.status != TurnStatus.FAILED:
        return "Only a failed turn can be asked again."
    if turn.kind == TurnKind.TALLY:
        return "A count asks nobody: it would fail again."
    if turn.human:
        return "A person was asked, and the time for it is over."
    if turn.round.closed_at is not None:
        return "Its round has closed: the council has gone on without it."
    later = Turn.objects.filter(round=turn.round_id)
    if later.filter(kind=TurnKind.TALLY).exists():
        return "Its round is being counted without it."
    if later.filter(kind=turn.kind, ordinal__gt=turn.ordinal).exists() and turn.kind in STOOD_IN_FOR:
        return "Another seat was asked in its place."
    return ""


def again(session: CouncilSession, turn: Turn) -> None:
    """Ask a failed turn once more, with its time and its patience anew. What it failed with stays in the record of its calls."""
    turn.error = turn.error_detail = ""
    turn.model_errors = 0
    turn.deadline_at = turn.finished_at = None
    turn.save(update_fields=["deadline_at", "finished_at"])
    release(session, turn)


def end(session: CouncilSession, turn: Turn, status: TurnStatus, **more: Any) -> None:
    """``more`` goes into the event: the session's usage after the call that ended with the turn."""
    turn.status = status
    turn.lease_token = turn.lease_expires_at = None
    turn.finished_at = timezone.now()
    ends = ("status", "lease_token", "lease_expires_at", "finished_at", "result", "evidence")
    turn.save(update_fields=[*ends, *_ERRORS])
    log.append(session, events.turn_moved(turn, status.value, **more))


def postpone(run: Run, by: timedelta) -> None:
    """Give the run, which the caller saves, and its open turns so much more time."""
    run.deadline_at += by
    waiting = Turn.objects.filter(round__run=run, status__in=OPEN_TURNS, deadline_at__isnull=False)
    waiting.update(deadline_at=F("deadline_at") + by)


def release_unneeded(session: CouncilSession, ids: Iterable[str]) -> None:
    """Cancel turns that nobody has begun: whatever they said, the outcome would stay."""
    rows = Turn.objects.select_for_update(no_key=True, of=("self",)).select_related("round__run")
    for turn in rows.filter(pk__in=list(ids), status=TurnStatus.PENDING).order_by("id"):
        turn.error, turn.error_detail = NOT_NEEDED, ""
        end(session, turn, TurnStatus.CANCELLED)


def cancel_open(session: CouncilSession, run: Run, *, spare_tally: bool = False) -> None:
    """Cancel every turn that has not ended; their workers are fenced off now and told within a heartbeat.

    ``spare_tally``: a count costs neither time nor money, and what it counts was paid for. Replies stand beside the run.
    """
    rows = Turn.objects.select_for_update(no_key=True, of=("self",)).select_related("round__run")
    open_turns = rows.filter(round__run=run, status__in=OPEN_TURNS).exclude(kind=TurnKind.REPLY)
    for turn in (open_turns.exclude(kind=TurnKind.TALLY) if spare_tally else open_turns).order_by("id"):
        end(session, turn, TurnStatus.CANCELLED)
