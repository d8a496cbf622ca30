"""A person's own stream, live: ``/ws/me``. It stands here because its snapshot shows councils, which accounts knows nothing of."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser

from accounts import events, streams
from accounts.models import UserStream
from accounts.scopes import Scope
from council import news
from council.models import CouncilSession
from council.states import SessionStatus
from realtime.consumers import StreamConsumer
from realtime.sources import LoggedEvent, StreamSource

Json = dict[str, Any]

RECENT: Final = 20  # councils in the snapshot, beside those that run
OPEN: Final = (SessionStatus.RUNNING, SessionStatus.PAUSED)


def snapshot(user_id: UUID) -> Json:
    """``{sessions, notifications, read_up_to, last_seq}``. Of one moment inside a repeatable-read transaction. Raises ``NotFound``.

    ``sessions``: those that run or are paused, and the newest ``RECENT`` of any status, newest first. Packs are not among it: who
    follows them takes their list and applies what comes.
    """
    stream = streams.stream_of(user_id)
    return {
        "sessions": [news.card(session).model_dump(mode="json") for session in _shown(user_id)],
        "notifications": streams.unread(stream),
        "read_up_to": stream.read_up_to,
        "last_seq": stream.last_seq,
    }


def _shown(user_id: UUID) -> list[CouncilSession]:
    owned = CouncilSession.objects.filter(owner=user_id).order_by("-created_at", "-id")
    shown = {session.pk: session for session in (*owned[:RECENT], *owned.filter(status__in=OPEN))}
    return sorted(shown.values(), key=lambda session: (session.created_at, session.id), reverse=True)


class MyStreams(StreamSource):
    model = UserStream
    scopes = (Scope.COUNCILS_READ, Scope.PACKS_READ)
    shows_work = False

    def authorise(self, user: AbstractBaseUser, stream_id: UUID) -> bool:
        return bool(user.pk == stream_id)

    def snapshot(self, stream_id: UUID) -> tuple[Json, int]:
        state = snapshot(stream_id)
        return state, state["last_seq"]

    def forgets(self, event: LoggedEvent) -> bool:
        return event.type in events.PACK_GONE


class MyStreamConsumer(StreamConsumer):
    source = MyStreams()
