"""Names of channel-layer groups: one for each stream, one for each user."""

from __future__ import annotations

from uuid import UUID

from realtime.models import Stream


def stream_group(model: type[Stream], stream_id: UUID) -> str:
    return f"stream.{model._meta.model_name}.{stream_id.hex}"


def user_group(user_id: UUID) -> str:
    return f"user.{user_id.hex}"
