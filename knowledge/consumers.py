"""Live knowledge packs: ``/ws/knowledge-packs/{id}``."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser

from accounts.models import User
from accounts.scopes import Scope
from knowledge import selectors
from knowledge.models import KnowledgePack
from realtime.consumers import StreamConsumer
from realtime.sources import StreamSource


class KnowledgePacks(StreamSource):
    model = KnowledgePack
    scopes = (Scope.PACKS_READ,)

    def authorise(self, user: AbstractBaseUser, stream_id: UUID) -> bool:
        return selectors.readable_packs(cast("User", user)).filter(pk=stream_id).exists()

    def snapshot(self, stream_id: UUID) -> tuple[dict[str, Any], int]:
        state = selectors.pack_snapshot(stream_id)
        return state, state["last_seq"]


class KnowledgePackConsumer(StreamConsumer):
    source = KnowledgePacks()
