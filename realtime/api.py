"""The event log as a list, for programs that poll."""

from __future__ import annotations

from typing import Any

from realtime.frames import event_body
from realtime.models import Stream
from realtime.sources import read_events


def events_after(stream: Stream, after: int, limit: int) -> dict[str, Any]:
    """Up to ``limit`` events with ``seq > after`` as ``{"next", "results": [{seq, type, at, data}]}``. ``next`` is what to pass
    as ``after`` for the following page; it stays where it was when there is nothing new."""
    events = read_events(type(stream), stream.pk, after, limit)
    return {"next": events[-1].seq if events else after, "results": [event_body(event) for event in events]}
