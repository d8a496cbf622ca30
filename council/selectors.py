"""Who may see which council, and what they see. Every list, detail, socket and admin page starts here."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Prefetch, Q, QuerySet

from accounts.models import User
from council import serial, sql, stale, versions
from council.deliberation.types import Stage, TurnKind
from council.models import CouncilSession, CouncilTemplate, Decision, Message, Round, Run, TemplateVersion, Turn
from council.state import load
from council.states import SessionStatus, TurnStatus
from council.steps import opened_ballots
from realtime.errors import NotFound

Json = dict[str, Any]


def sessions_for(user: User) -> QuerySet[CouncilSession]:
    """The user's own sessions; archived ones only by id."""
    return CouncilSession.objects.filter(owner=user)


def owns(user: User, session_id: UUID) -> bool:
    """Whether the session is among ``sessions_for``: what every socket asks that comes back after a cut, and each of them every minute."""
    found = sql.row("SELECT 1 FROM council_councilsession WHERE id = %s AND owner_id = %s", [session_id, user.pk])
    return found is not None


def listed_sessions(user: User) -> QuerySet[CouncilSession]:
    return sessions_for(user).exclude(status=SessionStatus.ARCHIVED)


def session_for(user: User, session_id: UUID) -> CouncilSession:
    """Raises ``NotFound`` for an unknown session and for another user's alike."""
    whole = (
        sessions_for(user)
        .select_related("budget", "template_ran")
        .prefetch_related("seats", "packs", "pack_pins__snapshot")
    )
    found = whole.filter(pk=session_id).first()
    if found is None:
        raise NotFound("There is no such council session.")
    return found


def templates_for(user: User) -> QuerySet[CouncilTemplate]:
    return CouncilTemplate.objects.filter(Q(owner=None) | Q(owner=user))


def template_of(user: User, session_id: UUID) -> TemplateVersion:
    """What the session's template said when the session was made from it. Raises ``NotFound`` also for a session made without one."""
    found = session_for(user, session_id).template_ran
    if found is None:
        raise NotFound("This council was not made from a template.")
    return found


def latest_decision(session: CouncilSession) -> Decision | None:
    return Decision.objects.filter(run__session=session).select_related("run").order_by("-run__number").first()


def session_detail(session: CouncilSession) -> Json:
    """The single object of the API: the contract's ``session``."""
    detail = _detail(session)
    return _marked(session.owner, detail) if detail["decision"] else detail


def detail_for(user: User, session_id: UUID) -> Json:
    """``session_detail`` of one of the user's sessions, through the cache. Raises as ``session_for``."""
    kept = versions.current("session", session_id, lambda: _detail(session_for(user, session_id)), owner=user.pk)
    return _marked(user, kept)


def _detail(session: CouncilSession) -> Json:
    decision = latest_decision(session)
    return {
        **serial.session(session),
        "last_seq": session.last_seq,
        "decision": serial.decision(decision) if decision else None,
    }


def _marked(owner: User, detail: Json) -> Json:
    """What has become of its sources changes with their packs and not with the council, so it is asked every time."""
    decision = detail["decision"]
    return {**detail, "decision": stale.mark(owner, decision) if decision else None}


def session_snapshot(session_id: UUID) -> Json:
    """Everything a watcher shows, as of ``last_seq``, of one moment; through the cache, except inside a transaction.

    ``{session, rounds: [{run, round, stage, opened_at, closed_at, asked, turns, tally, ballots}], messages, decisions, last_seq}``.
    Raises ``NotFound``.
    """
    snapshot: Json = versions.current("snapshot", session_id, lambda: _snapshot(session_id))
    return snapshot


def snapshot_at_this_moment(session_id: UUID) -> Json:
    """As ``session_snapshot``, for streams: inside a repeatable-read transaction that only reads."""
    snapshot: Json = versions.at_this_moment("snapshot", session_id, lambda: _snapshot(session_id))
    return snapshot


def _snapshot(session_id: UUID) -> Json:
    session = (
        CouncilSession.objects.select_related("budget", "template_ran")
        .prefetch_related("seats", "packs", "pack_pins__snapshot")
        .filter(pk=session_id)
        .first()
    )
    if session is None:
        raise NotFound("There is no such council session.")
    decisions = Decision.objects.filter(run__session=session).select_related("run").order_by("run__number")
    return {
        "session": serial.session(session),
        "rounds": [_round(run, round_) for run in _runs(session) for round_ in run.rounds.all()],
        "messages": [serial.message(message) for message in Message.objects.filter(session=session)],
        "decisions": [serial.decision(decision) for decision in decisions],
        "last_seq": session.last_seq,
    }


def repeatable_read() -> None:
    """Only the outermost transaction may choose its isolation; inside another one (a test) that one's rules hold."""
    if len(connection.savepoint_ids) == 0:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _runs(session: CouncilSession) -> QuerySet[Run]:
    turns = Turn.objects.select_related("round__run").order_by("created_at", "id")
    rounds = Round.objects.order_by("number").prefetch_related(Prefetch("turns", queryset=turns))
    return Run.objects.filter(session=session).order_by("number").prefetch_related(Prefetch("rounds", queryset=rounds))


def _round(run: Run, round_: Round) -> Json:
    turns = list(round_.turns.all())
    opened = round_.closed_at is not None and round_.stage == Stage.BALLOT
    ballots, texts = opened_ballots(load(run.pk), round_.pk, round_.number) if opened else ([], [])
    return {
        **serial.round_key(run.number, round_.number, round_.stage),
        "opened_at": serial.when(round_.opened_at),
        "closed_at": serial.when(round_.closed_at),
        "asked": [
            str(turn.seat_id) for turn in turns if turn.seat_id and turn.ordinal == 0 and turn.kind != TurnKind.REPLY
        ],
        # A turn that nobody has begun is not shown yet: its first event is turn.started.
        "turns": [serial.turn(turn) for turn in turns if turn.attempt or turn.status != TurnStatus.PENDING],
        "tally": round_.tally,
        "ballots": ballots,
        "texts": texts,
    }
