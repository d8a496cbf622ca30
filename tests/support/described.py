"""Every event that any test left in a log, and every snapshot of what it left, is as ``config.live`` publishes it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from accounts.events import OWN
from accounts.models import UserStream
from config.live import STREAMS
from council import me
from council import selectors as council
from council.event_types import COUNCIL_SESSIONS
from council.models import CouncilSession
from knowledge import selectors as knowledge
from knowledge.event_types import KNOWLEDGE_PACKS
from knowledge.models import KnowledgePack
from realtime.models import Stream
from realtime.schemas import StreamSchema
from realtime.sources import event_model

# tests/realtime try the log itself, with events of their own making.
CHECKED = ("tests/accounts/", "tests/config/", "tests/council/", "tests/knowledge/", "tests/chaos/", "tests/e2e/")
SHOWN = 20  # faults of one test
LARGEST = 1000  # entries of a pack whose snapshot is looked at: some tests hold tens of thousands
MODELS: dict[str, type[Stream]] = {
    COUNCIL_SESSIONS.name: CouncilSession,
    KNOWLEDGE_PACKS.name: KnowledgePack,
    OWN.name: UserStream,
}


def undescribed() -> list[str]:
    """What is wrong in the database that the settings name; [] when everything is as described."""
    return list(islice(_faults(), SHOWN))


def _faults() -> Iterator[str]:
    for stream in STREAMS:
        yield from _of_events(stream)
    for session in CouncilSession.objects.values_list("pk", flat=True):
        yield from COUNCIL_SESSIONS.snapshot_faults(council.session_snapshot(session))
    for pack in KnowledgePack.objects.filter(entry_count__lte=LARGEST).values_list("pk", flat=True):
        yield from KNOWLEDGE_PACKS.snapshot_faults(knowledge.pack_snapshot(pack))
    for person in UserStream.objects.values_list("pk", flat=True):
        yield from OWN.snapshot_faults(me.snapshot(person))


def _of_events(stream: StreamSchema) -> Iterator[str]:
    rows = event_model(MODELS[stream.name])._default_manager.order_by().values_list("type", "payload")
    for kind, payload in rows.iterator():
        yield from stream.event_faults(kind, payload)
