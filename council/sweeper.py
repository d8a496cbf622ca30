"""What keeps a council going when something was lost. Safe in any number: rows are taken with ``SKIP LOCKED``.

Every action goes through the session's lock like everything else; a session that is busy right now is skipped and seen again at
the next sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import groupby
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from council import budgets, claims, orchestrator, turns, workers
from council.deliberation.types import TurnKind
from council.models import CouncilSession, LlmCall, Run, Turn
from council.states import OPEN_TURNS, RunStatus, SessionStatus, TurnStatus
from realtime.failpoints import failpoint

logger = logging.getLogger(__name__)

BATCH = 200
# A turn that was dispatched this long ago and is still pending is dispatched again, and then at twice the interval each time, up to
# the second: a nudge may be lost several times in a row.
REDISPATCH_S, REDISPATCH_MAX_S = 5.0, 20.0
ORPHAN_S = 60.0  # a call this much older than its turn's lease belongs to nobody


def sweep() -> dict[str, int]:
    """One pass; returns how much of each kind was mended."""
    return {
        "leases": _each(_abandoned_turns(), _give_back),
        "deadlines": _each(_past_deadline(), _expire),
        "runs": _each(_overdue_runs(), _end_run),
        "calls": settle_orphans(),
        "stalled": _each(_stalled_sessions(), _nudge_on),
        "dispatched": redispatch(),
    }


def waiting() -> int:
    """How many rows the next sweep would look at, but for those that it only dispatches again or charges."""
    return sum(len(some()) for some in (_abandoned_turns, _past_deadline, _overdue_runs, _stalled_sessions))


def _each(ids: Iterable[UUID], mend: Callable[[UUID], bool]) -> int:
    return sum(_mended(one, mend) for one in ids)


def _mended(key: UUID, mend: Callable[[UUID], bool]) -> bool:
    """What cannot be mended must not keep us from the others; a council that nothing brings on is failed by ``cleaning.STUCK``."""
    try:
        return mend(key)
    except (OperationalError, InterfaceError):
        raise  # the database's trouble, not this row's
    except Exception:
        logger.exception("%s could not be mended", key)
        return False


def _abandoned() -> Q:
    """Turns whose lease has run out, or whose worker is known to be dead: why wait for the lease?"""
    running = Turn.objects.filter(status=TurnStatus.RUNNING, lease_expires_at__gte=timezone.now())
    dead = [one for one in running.order_by().values_list("worker", flat=True).distinct() if workers.has_died(one)]
    return Q(lease_expires_at__lt=timezone.now()) | Q(worker__in=dead, lease_expires_at__isnull=False)


def _abandoned_turns() -> list[UUID]:
    rows = Turn.objects.filter(_abandoned(), status=TurnStatus.RUNNING)
    return list(rows.values_list("pk", flat=True)[:BATCH])


def _give_back(turn_id: UUID) -> bool:
    """The worker is gone: pending again. Not the model's fault, so nothing is counted against the turn."""
    with transaction.atomic():
        session, turn = _locked(turn_id)
        if session is None or turn is None or turn.status != TurnStatus.RUNNING:
            return False
        if turn.lease_expires_at is None or not (
            turn.lease_expires_at < timezone.now() or workers.has_died(turn.worker)
        ):
            return False
        turns.release(session, turn)
        failpoint("council.give_back.stored")
    failpoint("council.give_back.committed")
    return True


def _past_deadline() -> list[UUID]:
    rows = Turn.objects.filter(status=TurnStatus.PENDING, deadline_at__lt=timezone.now()).filter(turns.SERVED)
    return list(rows.values_list("pk", flat=True)[:BATCH])


def _expire(turn_id: UUID) -> bool:
    orchestrator.expire(turn_id)
    return True


def _overdue_runs() -> list[UUID]:
    rows = Run.objects.filter(status=RunStatus.RUNNING, exhausted="", deadline_at__lt=timezone.now())
    return list(rows.values_list("pk", flat=True)[:BATCH])


def _end_run(run_id: UUID) -> bool:
    with transaction.atomic():
        session_id = Run.objects.values_list("session_id", flat=True).get(pk=run_id)
        session = claims.lock_session(session_id, skip_locked=True)
        if session is None or session.status != SessionStatus.RUNNING:
            return False
        run = Run.objects.get(pk=run_id)
        if run.status != RunStatus.RUNNING or run.exhausted:
            return False
        orchestrator.exhaust(session, run, "deadline")
        return True


def _stalled_sessions() -> list[UUID]:
    """Running without an open turn: cannot happen while every change advances in its own transaction; cheap to be sure."""
    running = CouncilSession.objects.filter(status=SessionStatus.RUNNING)
    awaited = Turn.objects.filter(session=OuterRef("pk"), status__in=OPEN_TURNS).exclude(kind=TurnKind.REPLY)
    return list(running.exclude(Exists(awaited)).values_list("pk", flat=True)[:BATCH])


def _nudge_on(session_id: UUID) -> bool:
    with transaction.atomic():
        session = claims.lock_session(session_id, skip_locked=True)
        if session is None or session.status != SessionStatus.RUNNING:
            return False
        run = Run.objects.filter(session=session, status=RunStatus.RUNNING).first()
        if run is None:
            return False
        orchestrator.advance(session, run)
        return True


def redispatch() -> int:
    """Tell the broker again about turns that it may have lost, at growing intervals."""
    now = timezone.now()
    age = Q(dispatched_at=None) | Q(dispatched_at__lt=now - timedelta(seconds=REDISPATCH_S))
    with transaction.atomic():
        waiting = Turn.objects.select_for_update(no_key=True, skip_locked=True, of=("self",)).filter(
            age, turns.SERVED, status=TurnStatus.PENDING, human=False, not_before__lte=now
        )
        due = [turn for turn in waiting.order_by("not_before")[:BATCH] if _due_again(turn, now.timestamp())]
        Turn.objects.filter(pk__in=[turn.pk for turn in due]).update(dispatched_at=now)
        for session_id, together in groupby(sorted(due, key=_session_of), key=_session_of):
            turns.dispatch(session_id, [(turn.id, turn.kind) for turn in together])
    return len(due)


def _session_of(turn: Turn) -> UUID:
    return turn.session_id


def _due_again(turn: Turn, now: float) -> bool:
    """The wait doubles with the turn's age, so a long queue is not flooded with copies of itself."""
    if turn.dispatched_at is None:
        return True
    waited = turn.dispatched_at.timestamp() - turn.not_before.timestamp()
    return now - turn.dispatched_at.timestamp() >= min(max(REDISPATCH_S, waited), REDISPATCH_MAX_S)


def settle_orphans() -> int:
    """Charge calls whose worker died: what the provider did is unknown, so the whole reservation is used up."""
    old = timezone.now() - timedelta(seconds=ORPHAN_S)
    gone = ~Q(turn__status=TurnStatus.RUNNING) | Q(turn__attempt__gt=F("attempt"))
    orphans = LlmCall.objects.filter(gone, status=LlmCall.Status.RUNNING, started_at__lt=old)[:BATCH]
    return sum(_settle_orphan(call) for call in orphans)


def _settle_orphan(call: LlmCall) -> bool:
    with transaction.atomic():
        return budgets.settle([budgets.lost(call)]) is not None


def _locked(turn_id: UUID) -> tuple[CouncilSession | None, Turn | None]:
    session_id = Turn.objects.values_list("session_id", flat=True).get(pk=turn_id)
    session = claims.lock_session(session_id, skip_locked=True)
    if session is None or session.status != SessionStatus.RUNNING:
        return None, None
    return session, claims.lock_turn(turn_id)
