"""What councils leave behind: drafts nobody came back to, pauses nobody ended, councils that nothing brings on, unfinished text.

What is merely late, a turn, a gate, a run or a lease, is the sweeper's every few seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from council import claims, orchestrator, steps, sweeper, turns, validation
from council.models import CouncilSession, Run, Turn
from council.states import OPEN_TURNS, RunStatus, SessionStatus, TurnStatus
from realtime import leftovers, nudge
from realtime.cleaning import Cleaning, one_by_one
from realtime.leftovers import Keys

logger = logging.getLogger(__name__)

STUCK_REASON = "stuck"
ABANDONED_REASON = "paused for too long"


# --- drafts -----------------------------------------------------------------------------------------------------------


def forgotten_drafts() -> QuerySet[CouncilSession]:
    old = timezone.now() - timedelta(days=settings.COUNCIL_DRAFT_DAYS)
    return CouncilSession.objects.filter(status=SessionStatus.DRAFT, created_at__lt=old)


def _archive(session_id: UUID) -> bool:
    """By id it stays readable."""
    with transaction.atomic():
        session = claims.lock_session(session_id, skip_locked=True)
        if session is None or session.status != SessionStatus.DRAFT:
            return False
        steps.archive(session)
        return True


# --- pauses -----------------------------------------------------------------------------------------------------------


def abandoned_pauses() -> QuerySet[Run]:
    old = timezone.now() - timedelta(days=settings.COUNCIL_PAUSED_DAYS)
    return Run.objects.filter(status=RunStatus.PAUSED, paused_at__lt=old)


def _stop(run_id: UUID) -> bool:
    with transaction.atomic():
        session, run = _locked(run_id)
        if session is None or not abandoned_pauses().filter(pk=run_id).exists():
            return False
        steps.stop(session, run, ABANDONED_REASON)
        return True


# --- councils that nothing brings on ----------------------------------------------------------------------------------


def overdue_long_ago() -> QuerySet[Run]:
    """The sweeper ends a run within seconds of its deadline. One that runs hours later had no sweeper, or every try to end it
    raises an error."""
    old = timezone.now() - timedelta(hours=settings.COUNCIL_STUCK_HOURS)
    return Run.objects.filter(status=RunStatus.RUNNING, deadline_at__lt=old)


def _fail_if_stuck(run_id: UUID) -> bool:
    """Bring it on as the sweeper would, and fail it only if that is impossible."""
    with transaction.atomic():
        session, run = _locked(run_id)
        if session is None or run.status != RunStatus.RUNNING or _brought_on(session, run):
            return False
        session, run = _locked(run_id)  # what was done to the objects was not done to the rows
        if session is None:
            return False
        turns.cancel_open(session, run)
        _end(session, run)
        return True


def _brought_on(session: CouncilSession, run: Run) -> bool:
    try:
        with transaction.atomic():
            orchestrator.exhaust(session, run, "deadline")
            late = Turn.objects.filter(round__run=run, status__in=OPEN_TURNS, deadline_at__lt=timezone.now())
            for turn_id in list(late.values_list("pk", flat=True)):
                orchestrator.expire(turn_id)
            session.refresh_from_db()
            if session.status == SessionStatus.RUNNING:
                orchestrator.advance(session, run)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("council %s cannot be brought on", session.pk)
        return False
    return True


def _end(session: CouncilSession, run: Run) -> None:
    try:
        with transaction.atomic():
            steps.end_run(session, run, RunStatus.FAILED, STUCK_REASON)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("the open rounds of council %s cannot be read and stay open", session.pk)
        steps.mark_ended(session, run, RunStatus.FAILED, STUCK_REASON)


def _locked(run_id: UUID) -> tuple[CouncilSession | None, Run]:
    """The session, locked, or None when somebody is at it; and its run as it is under the lock."""
    session_id = Run.objects.values_list("session_id", flat=True).get(pk=run_id)
    session = claims.lock_session(session_id, skip_locked=True)
    return session, Run.objects.get(pk=run_id)


# --- what the sweeper does --------------------------------------------------------------------------------------------


def _sweep() -> Iterator[int]:
    yield sum(sweeper.sweep().values())


# --- unfinished text --------------------------------------------------------------------------------------------------


def _orphans(page: Keys) -> list[bytes]:
    """Texts of turns that nobody is at: their worker died, or Valkey was away when it wanted to delete them."""
    named = {key: key.decode().removeprefix(nudge.PARTIAL_KEY) for key in page}
    turns_named = [name for name in named.values() if validation.is_uuid(name)]
    running = Turn.objects.filter(pk__in=turns_named, status=TurnStatus.RUNNING)
    kept = {str(pk) for pk in running.values_list("pk", flat=True)}
    return [key for key, turn in named.items() if turn not in kept]


def _count_texts(page: Keys) -> int:
    return len({*_orphans(page), *leftovers.eternal(page)})


def _clean_texts(page: Keys) -> int:
    """One of a running turn that has lost its time to live gets it back. If a turn begins just now its text is whole again with its
    next words."""
    gone = leftovers.delete(_orphans(page))
    eternal = leftovers.eternal(page)
    for key in eternal:
        nudge.client().expire(key, nudge.PARTIAL_TTL_S)
    return gone + len(eternal)


DRAFTS = one_by_one(forgotten_drafts, _archive)
PAUSES = one_by_one(abandoned_pauses, _stop)
STUCK = one_by_one(overdue_long_ago, _fail_if_stuck)
LATE = Cleaning(sweeper.waiting, _sweep)
TEXTS = leftovers.keys(nudge.PARTIAL_KEY, _count_texts, _clean_texts)
