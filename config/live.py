"""Every kind of live stream. A new one is its import and its name here."""

from __future__ import annotations

from typing import Final

from council.event_types import COUNCIL_SESSIONS
from knowledge.event_types import KNOWLEDGE_PACKS
from realtime.schemas import StreamSchema

STREAMS: Final[tuple[StreamSchema, ...]] = (COUNCIL_SESSIONS, KNOWLEDGE_PACKS)
