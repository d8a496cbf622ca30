"""What must hold of a pack's event log and of its rows together. ``check`` is pure; ``faults`` reads one pack for it.

Entries that a fork of a pack began with are told of by ``pack.created`` alone, as a number; each is followed from its first event on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from knowledge.models import Entry, Import, KnowledgePack, PackEvent
from knowledge.services.packs import purged_before
from knowledge.states import IMPORT_TRANSITIONS, INDEX_TRANSITIONS, PACK_TRANSITIONS, ImportStatus

Json = dict[str, Any]
LIVE, TRASH, GONE = "live", "trash", "gone"
_BEFORE = {
    "restored": {TRASH},
    "purged": {TRASH},
    "reordered": {LIVE, TRASH},
}  # others: of entries that live; those that come: none
# An import's progress is told now and then: which of these it is at, the log may not know yet.
_AT_WORK = {str(status) for status in (ImportStatus.QUEUED, ImportStatus.READING, ImportStatus.WRITING)}
CHUNK = 500  # events in memory
_READ = ("id", "status", "version", "entry_count", "last_seq", "deleted_at")


class Event(NamedTuple):
    seq: int
    type: str
    data: Json


class Fault(NamedTuple):
    """``rule``: seq, pack, entry, index, import or counts."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


class Rows(NamedTuple):
    pack: Mapping[str, Any]  # id, status, version, entry_count, last_seq
    live: Mapping[str, str]  # entry: index status
    trash: frozenset[str]
    imports: Mapping[str, str]  # import: status


def check(rows: Rows, events: Iterable[Event]) -> list[Fault]:
    log = _Log(str(rows.pack["id"]))
    for event in events:
        log.take(event)
    return [*log.faults, *_compared(rows, log)]


class _Log:
    def __init__(self, pack: str) -> None:
        self.pack, self.seq, self.faults = pack, 0, list[Fault]()
        self.header: Json = {}
        self.copied = 0  # entries that the pack began with
        self.known: set[str] = set()  # of those, the ones that were told of later
        self.entries: dict[str, str] = {}  # where they are
        self.statuses: dict[str, str] = {}
        self.imports: dict[str, str] = {}
        self.at = ""

    def take(self, event: Event) -> None:
        self.at = f"event {event.seq} ({event.type})"
        if event.seq != self.seq + 1:
            self._fault("seq", f"follows {self.seq}")
        if (event.type == "pack.created") != (self.seq == 0):
            self._fault("pack", "pack.created is the first event, and no other")
        self.seq = event.seq
        family, _, verb = event.type.partition(".")
        if isinstance(event.data.get("pack"), dict):  # some name the pack by its id alone
            self._header(event.data["pack"])
        if event.type == "pack.created":
            self.copied = event.data["pack"]["entry_count"]
        if family == "entry":
            several = event.data.get("entries")
            for entry in [event.data["entry"]] if several is None else several:
                self._entry(verb, {"id": entry} if isinstance(entry, str) else entry)
        if family == "import":
            self._import(event.data["import"])

    def _fault(self, rule: str, detail: str) -> None:
        self.faults.append(Fault(rule, f"{self.at}: {detail}"))

    def _header(self, told: Json) -> None:
        before, now = self.header.get("status"), told.get("status")
        if before and now and before != now and now not in PACK_TRANSITIONS[before]:
            self._fault("pack", f"was {before} and became {now}")
        self.header |= told

    def _entry(self, verb: str, entry: Json) -> None:
        identity, left = entry["id"], verb == "moved" and entry["pack"] != self.pack
        arrived = verb == "created" or (verb == "moved" and not left)
        before = self.entries.get(identity)
        if before is None and not arrived:
            self.known.add(identity)
        elif before not in ({None, GONE} if arrived else _BEFORE.get(verb, {LIVE})):
            self._fault("entry", f"entry {identity} was {before or 'unknown'}")
        self.entries[identity] = GONE if left or verb == "purged" else TRASH if verb == "deleted" else LIVE
        if self.entries[identity] == GONE:
            self.statuses.pop(identity, None)
        elif "status" in entry:
            self._status(identity, entry["status"])

    def _status(self, identity: str, now: str) -> None:
        before = self.statuses.get(identity, now)
        if before != now and now not in INDEX_TRANSITIONS[before]:
            self._fault("index", f"entry {identity} was {before} and became {now}")
        self.statuses[identity] = now

    def _import(self, told: Json) -> None:
        identity: str = told["id"]
        now: str = told["status"]
        before = self.imports.get(identity, now)
        if before != now and now not in _reached(before):
            self._fault("import", f"import {identity} was {before} and became {now}")
        self.imports[identity] = now


def _reached(status: str) -> set[str]:
    """What an import can become with none but untold steps between."""
    found, ways = set[str](), [status]
    while ways:
        new = set(IMPORT_TRANSITIONS[ways.pop()]) - found
        found |= new
        ways += new & _AT_WORK
    return found


def _compared(rows: Rows, log: _Log) -> Iterator[Fault]:
    if rows.pack["last_seq"] != log.seq:
        yield Fault("seq", f"last_seq is {rows.pack['last_seq']}, the log ends with {log.seq}")
    for name in ("status", "version", "entry_count"):
        if name in log.header and log.header[name] != rows.pack[name]:
            yield Fault("pack", f"{name} is {rows.pack[name]!r}, told was {log.header[name]!r}")
    if rows.pack["entry_count"] != len(rows.live):
        yield Fault("counts", f"entry_count is {rows.pack['entry_count']}, there are {len(rows.live)} entries")
    untold = (rows.live.keys() | rows.trash) - log.entries.keys()
    if len(untold | log.known) != log.copied:
        yield Fault(
            "counts", f"of {len(untold | log.known)} entries nobody told how they came; {log.copied} were copied"
        )
    yield from _of_entries(rows, log)
    for identity in rows.imports.keys() | log.imports.keys():
        status, told = rows.imports.get(identity), log.imports.get(identity)
        if status != told and not {status, told} <= _AT_WORK:
            yield Fault("import", f"import {identity} is {status}, told was {told}")


def _of_entries(rows: Rows, log: _Log) -> Iterator[Fault]:
    for identity, where in log.entries.items():
        stored = LIVE if identity in rows.live else TRASH if identity in rows.trash else GONE
        if where != stored:
            yield Fault("entry", f"entry {identity} is {stored}, told was {where}")
        elif where == LIVE and log.statuses.get(identity, rows.live[identity]) != rows.live[identity]:
            yield Fault("index", f"entry {identity} is {rows.live[identity]}, told was {log.statuses[identity]}")


def faults(pack_id: UUID) -> list[Fault]:
    """Of one pack, read as of one moment. None of a pack that is due to be purged: it goes piece by piece, its log as well."""
    with transaction.atomic():
        if len(connection.savepoint_ids) == 0:  # only the outermost transaction may choose
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows = rows_of(pack_id)
        deleted = rows.pack["deleted_at"]
        return [] if deleted is not None and deleted <= purged_before() else check(rows, told_of(pack_id))


def told_of(pack_id: UUID) -> Iterator[Event]:
    told = PackEvent.objects.filter(stream=pack_id).order_by("seq").values_list("seq", "type", "payload")
    return (Event(*one) for one in told.iterator(chunk_size=CHUNK))


def rows_of(pack_id: UUID) -> Rows:
    """Raises ``KnowledgePack.DoesNotExist``."""
    pack = KnowledgePack.objects.values(*_READ).get(pk=pack_id)
    live: dict[str, str] = {}
    trash = set()
    for pk, status, deleted in Entry.objects.filter(pack=pack_id).values_list("pk", "index_status", "deleted_at"):
        if deleted is None:
            live[str(pk)] = status
        else:
            trash.add(str(pk))
    imports = {str(pk): status for pk, status in Import.objects.filter(pack=pack_id).values_list("pk", "status")}
    return Rows(pack, live, frozenset(trash), imports)
