"""Live council sessions: ``/ws/council-sessions/{id}``."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser

from accounts.models import User
from accounts.scopes import Scope
from council import selectors
from council.models import CouncilSession
from realtime.consumers import StreamConsumer
from realtime.sources import StreamSource


class CouncilSessions(StreamSource):
    model = CouncilSession
    scopes = (Scope.COUNCILS_READ,)

    def authorise(self, user: AbstractBaseUser, stream_id: UUID) -> bool:
        return selectors.owns(cast("User", user), stream_id)

    def snapshot(self, stream_id: UUID) -> tuple[dict[str, Any], int]:
        state = selectors.snapshot_at_this_moment(stream_id)
        return state, state["last_seq"]


class CouncilSessionConsumer(StreamConsumer):
    source = CouncilSessions()
