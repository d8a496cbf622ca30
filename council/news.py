"""What the owner of a council is told in their own stream (``accounts.streams``), whatever they are looking at.

Little, for every council pays for it: what the whole council does, and what waits for its owner; never a turn of a model. Each
function belongs into the transaction of the change, after the session's own event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from accounts import events, streams
from accounts.events import About, Notification, SessionCard, SessionData
from council.deliberation.types import TurnKind
from council.models import CouncilSession, Turn
from council.states import SessionStatus
from realtime.log import NewEvent

_ENDED: Mapping[str, Any] = {SessionStatus.COMPLETED: "council_concluded", SessionStatus.FAILED: "council_failed"}


def card(session: CouncilSession) -> SessionCard:
    status: Any = str(session.status)
    return SessionCard(
        id=session.id,
        title=session.title,
        status=status,
        reason=session.reason,
        created_at=session.created_at,
        started_at=session.started_at,
        finished_at=session.finished_at,
    )


def session_changed(session: CouncilSession, verb: str) -> None:
    """``verb`` as in the session's own event; an end that its owner did not bring about is also a notification."""
    told = [events.event(f"session.{verb}", SessionData(session=card(session)))]
    if kind := _ENDED.get(verb):
        told.append(_notification(session, kind, detail=session.reason))
    streams.tell({session.owner_id: told})


def budget_exhausted(session: CouncilSession) -> None:
    streams.tell({session.owner_id: [_notification(session, "budget_exhausted")]})


def people_asked(session_id: UUID, turns: list[UUID]) -> None:
    """These turns wait for a person: at the gate, or for a seat."""
    session = CouncilSession.objects.get(pk=session_id)
    asked = Turn.objects.filter(pk__in=turns).order_by("pk").values_list("pk", "kind", "deadline_at")
    told = [
        _notification(
            session, "gate_waiting" if kind == TurnKind.GATE else "seat_waiting", turn=turn, deadline_at=deadline
        )
        for turn, kind, deadline in asked
    ]
    streams.tell({session.owner_id: told})


def _notification(session: CouncilSession, kind: Any, **more: Any) -> NewEvent:
    about = About(type="session", id=session.id)
    return events.notification(Notification(kind=kind, about=about, title=session.title, **more))
