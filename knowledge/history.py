"""What must hold of a pack's event log and of its rows together. ``check`` is pure; ``faults`` reads one pack for it.

Entries that a fork of a pack began with are told of by ``pack.created`` alone, so an entry may appear in the log without having been
created there; from its first event on it is followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from knowledge.models import Entry, KnowledgePack, PackEvent
from knowledge.services.packs import purged_before
from knowledge.states import PACK_TRANSITIONS

Json = dict[str, Any]
LIVE, TRASH, GONE = "live", "trash", "gone"
_COMES = frozenset({"created", "restored"})
CHUNK = 500  # events in memory


class Event(NamedTuple):
    seq: int
    type: str
    data: Json


class Fault(NamedTuple):
    """``rule``: seq, entry, pack or counts."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


class Rows(NamedTuple):
    pack: Mapping[str, Any]  # id, status, version, entry_count, last_seq
    live: Mapping[str, str]  # entry: index status
    trash: frozenset[str]


def check(rows: Rows, events: Iterable[Event]) -> list[Fault]:
    log = _Log(str(rows.pack["id"]))
    for event in events:
        log.take(event)
    return [*log.faults, *_compared(rows, log)]


class _Log:
    def __init__(self, pack: str) -> None:
        self.pack, self.seq, self.faults = pack, 0, list[Fault]()
        self.header: Json = {}
        self.entries: dict[str, str] = {}  # where they are
        self.statuses: dict[str, str] = {}
        self.at = ""

    def take(self, event: Event) -> None:
        self.at = f"event {event.seq} ({event.type})"
        if event.seq != self.seq + 1:
            self._fault("seq", f"follows {self.seq}")
        self.seq = event.seq
        family, _, verb = event.type.partition(".")
        if "pack" in event.data:
            self._header(event.data["pack"])
        if family == "entry":
            several = event.data.get("entries")
            for entry in [event.data["entry"]] if several is None else several:
                self._entry(verb, {"id": entry} if isinstance(entry, str) else entry)

    def _fault(self, rule: str, detail: str) -> None:
        self.faults.append(Fault(rule, f"{self.at}: {detail}"))

    def _header(self, told: Any) -> None:
        if not isinstance(told, dict):  # some name the pack by its id alone
            return
        before, now = self.header.get("status"), told.get("status")
        if before and now and before != now and now not in PACK_TRANSITIONS[before]:
            self._fault("pack", f"was {before} and became {now}")
        self.header |= told

    def _entry(self, verb: str, entry: Json) -> None:
        identity, before = entry["id"], self.entries.get(entry["id"])
        left = verb == "moved" and entry["pack"] != self.pack
        arrived = verb in _COMES or (verb == "moved" and not left)
        if arrived and before == LIVE:
            self._fault("entry", f"entry {identity} was here already")
        elif verb == "purged" and before not in {None, TRASH}:
            self._fault("entry", f"entry {identity} was {before}, not in the trash")
        elif verb == "restored" and before == GONE:
            self._fault("entry", f"entry {identity} is gone for good")
        elif not arrived and verb not in {"purged", "reordered"} and before in {TRASH, GONE}:
            self._fault("entry", f"entry {identity} is in the trash or gone")
        if left or verb == "purged":
            self.entries[identity] = GONE
        elif verb == "deleted":
            self.entries[identity] = TRASH
        elif verb != "reordered":
            self.entries[identity] = LIVE
            self.statuses[identity] = entry.get("status", self.statuses.get(identity, ""))


def _compared(rows: Rows, log: _Log) -> Iterator[Fault]:
    if rows.pack["last_seq"] != log.seq:
        yield Fault("seq", f"last_seq is {rows.pack['last_seq']}, the log ends with {log.seq}")
    for name in ("status", "version", "entry_count"):
        if name in log.header and log.header[name] != rows.pack[name]:
            yield Fault("pack", f"{name} is {rows.pack[name]!r}, told was {log.header[name]!r}")
    if rows.pack["entry_count"] != len(rows.live):
        yield Fault("counts", f"entry_count is {rows.pack['entry_count']}, there are {len(rows.live)} entries")
    for identity, where in log.entries.items():
        stored = LIVE if identity in rows.live else TRASH if identity in rows.trash else GONE
        if where != stored:
            yield Fault("entry", f"entry {identity} is {stored}, told was {where}")
        elif where == LIVE and log.statuses.get(identity) not in {"", None, rows.live[identity]}:
            yield Fault("entry", f"entry {identity} is {rows.live[identity]}, told was {log.statuses[identity]}")


_READ = ("id", "status", "version", "entry_count", "last_seq", "deleted_at")


def faults(pack_id: UUID) -> list[Fault]:
    """Of one pack, read as of one moment. None of a pack that is due to be purged: it goes piece by piece, its log as well."""
    with transaction.atomic():
        if len(connection.savepoint_ids) == 0:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        pack = KnowledgePack.objects.values(*_READ).get(pk=pack_id)
        if pack["deleted_at"] is not None and pack["deleted_at"] <= purged_before():
            return []
        live: dict[str, str] = {}
        trash = set()
        for pk, status, deleted in Entry.objects.filter(pack=pack_id).values_list("pk", "index_status", "deleted_at"):
            if deleted is None:
                live[str(pk)] = status
            else:
                trash.add(str(pk))
        told = PackEvent.objects.filter(stream=pack_id).order_by("seq").values_list("seq", "type", "payload")
        events = (Event(*one) for one in told.iterator(chunk_size=CHUNK))
        return check(Rows(pack, live, frozenset(trash)), events)
