"""WebSocket routes. API keys are resolved by accounts, which the realtime app stands below, so the resolver is handed in here."""

from __future__ import annotations

from channels.routing import URLRouter
from django.urls import path, re_path

from accounts import keys
from council.consumers import CouncilSessionConsumer
from council.me import MyStreamConsumer
from knowledge.consumers import KnowledgePackConsumer
from realtime.consumers import StreamConsumer, Unknown


def _routes(prefix: str, consumer: type[StreamConsumer]) -> list[object]:
    """With and without a trailing slash, like every path of the API."""
    app = consumer.as_asgi(keys=keys)
    return [path(f"ws/{prefix}{slash}", app) for slash in ("", "/")]


websocket = URLRouter(
    [
        *_routes("council-sessions/<uuid:stream_id>", CouncilSessionConsumer),
        *_routes("knowledge-packs/<uuid:stream_id>", KnowledgePackConsumer),
        *_routes("me", MyStreamConsumer),
        re_path("", Unknown.as_asgi(keys=keys)),
    ]
)
