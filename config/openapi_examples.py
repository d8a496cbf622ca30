"""Bodies that the OpenAPI document shows, by operation. A test holds each against its schema."""

from __future__ import annotations

from typing import Any, Final

_ID: Final = "0190a1b2-0000-7000-8000-000000000001"
BODIES: Final[dict[str, dict[str, Any]]] = {
    "council_sessions_create": {
        "question": "Should the depot close on Fridays?",
        "packs": [_ID],
    },
    "council_sessions_message_create": {"content": "And in winter?"},
    "knowledge_packs_create": {"name": "Energy", "description": "What we know about the depot.", "tags": ["depot"]},
    "knowledge_packs_partial_update": {"name": "Energy and heat"},
    "me_webhooks_create": {"url": "https://hooks.example.org/quorum", "events": ["session.*", "pack.published"]},
    "me_notifications_read": {"up_to": 42},
}
