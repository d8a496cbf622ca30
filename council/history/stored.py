"""One session's rows and events for the checker: a few statements, the events streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from council import serial, sql
from council.history import check
from council.history.check import RoundRow, Rows, TurnRow
from council.history.told import PURSE, Event, Fault, Json, Place, said_of
from council.models import Ballot, CouncilSession, Message, Round, Run, SessionEvent, Turn
from council.selectors import repeatable_read
from council.states import OPEN_TURNS

CHUNK = 500  # events in memory


def faults(session_id: UUID) -> list[Fault]:
    """Of one session, read as of one moment. Raises ``CouncilSession.DoesNotExist``."""
    with transaction.atomic():
        repeatable_read()
        return check.check(rows(session_id), events(session_id))


def events(session_id: UUID) -> Iterator[Event]:
    told = SessionEvent.objects.filter(stream=session_id).order_by("seq").values_list("seq", "type", "payload")
    return (Event(*one) for one in told.iterator(chunk_size=CHUNK))


def rows(session_id: UUID) -> Rows:
    session = CouncilSession.objects.select_related("budget").prefetch_related("seats").get(pk=session_id)
    budget, (used, running) = session.budget, _calls(session_id)
    return Rows(
        session=_session(session),
        runs={number: (status, made is not None) for number, status, made in _runs(session_id)},
        rounds=dict(_rounds(session_id)),
        turns=dict(_turns(session_id)),
        ballots=_ballots(session_id),
        messages={str(pk) for pk in Message.objects.filter(session=session_id).values_list("pk", flat=True)},
        budget={name: getattr(budget, "calls" if name == "calls" else f"{name}_used") for name in PURSE},
        limits=serial.budget(budget),
        used=used,
        reserved={name: getattr(budget, f"{name}_reserved") for name in PURSE},
        running=running,
    )


def _session(session: CouncilSession) -> Json:
    whole = {**serial.session_status(session), "title": session.title, "question": session.question}
    agents = [str(seat.pk) for seat in session.seats.all()]
    return {**whole, "options": session.options, "last_seq": session.last_seq, "agents": agents}


def _runs(session_id: UUID) -> Any:
    return Run.objects.filter(session=session_id).values_list("number", "status", "decision__pk")


def _rounds(session_id: UUID) -> Iterator[tuple[Place, RoundRow]]:
    found = Round.objects.filter(run__session=session_id).annotate(counted=Q(tally__isnull=False))
    for run, number, stage, closed, sealed, counted in found.values_list(
        "run__number", "number", "stage", "closed_at", "sealed", "counted"
    ):
        yield (run, number), RoundRow(stage, closed is not None, sealed, counted)


def _turns(session_id: UUID) -> Iterator[tuple[str, TurnRow]]:
    names = (
        "pk", "round__run__number", "round__number", "seat_id", "kind", "ordinal", "status", "attempt", "result", "evidence",
        "error", "error_detail",
    )  # fmt: skip
    for row in Turn.objects.filter(session=session_id).order_by().values_list(*names).iterator(chunk_size=CHUNK):
        pk, run, number, seat, kind, ordinal, status, attempt, *body = row
        said = "" if status in OPEN_TURNS else said_of(kind, dict(zip(names[8:], body, strict=True)))
        yield str(pk), TurnRow(run, number, str(seat) if seat else None, kind, ordinal, status, attempt, said)


def _ballots(session_id: UUID) -> dict[Place, set[str]]:
    found: dict[Place, set[str]] = {}
    cast = Ballot.objects.filter(round__run__session=session_id).order_by()
    for run, number, seat in cast.values_list("round__run__number", "round__number", "seat_id"):
        found.setdefault((run, number), set()).add(str(seat))
    return found


_CALLS = """
    SELECT count(*) FILTER (WHERE settled), count(*) FILTER (WHERE NOT settled),
           coalesce(sum(prompt_tokens + completion_tokens) FILTER (WHERE settled), 0),
           coalesce(sum(tokens_reserved) FILTER (WHERE NOT settled), 0),
           coalesce(sum(usd) FILTER (WHERE settled), 0), coalesce(sum(usd_reserved) FILTER (WHERE NOT settled), 0),
           coalesce(sum(seconds) FILTER (WHERE settled), 0), coalesce(sum(seconds_reserved) FILTER (WHERE NOT settled), 0)
    FROM (SELECT *, status <> 'running' AS settled FROM council_llmcall WHERE session_id = %s) AS call
"""


def _calls(session_id: UUID) -> tuple[Json, Json]:
    """What settled calls have used and what running ones have reserved, by the names of ``PURSE``."""
    (found,) = sql.rows(_CALLS, [session_id])
    names = ("calls", "tokens", "usd", "seconds")
    return dict(zip(names, found[::2], strict=True)), dict(zip(names, found[1::2], strict=True))
