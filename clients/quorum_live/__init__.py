"""Follow council sessions, knowledge packs and one's own news of a Quorum server, live. Copy the folder: nothing here needs Django.

    stream = LiveStream("http://127.0.0.1:8000/ws/council-sessions/…", key="qk_…")
    council = Council()
    async for news in stream.follow():          # comes back by itself, misses nothing, hears nothing twice
        council.apply(news)

Needs Python 3.11 and the package ``websockets``; the event-stream variant (``sse``) needs ``httpx2`` instead. The protocol is
``docs/events.md``, a longer example ``docs/clients.md``.
"""

from __future__ import annotations

from .backoff import Backoff
from .news import Close, Delta, Event, News, OutOfOrder, Place, Presence, Refused, Snapshot
from .socket import LiveStream
from .state import Council, Me, Pack, State, empty_council, reduce_council, reduce_me, reduce_pack

__all__ = [
    "Backoff",
    "Close",
    "Council",
    "Delta",
    "Event",
    "LiveStream",
    "Me",
    "News",
    "OutOfOrder",
    "Pack",
    "Place",
    "Presence",
    "Refused",
    "Snapshot",
    "State",
    "empty_council",
    "reduce_council",
    "reduce_me",
    "reduce_pack",
]
