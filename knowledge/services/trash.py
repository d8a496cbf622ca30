"""The way of an entry out of its pack: into the trash, back, and in the end for good."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import PROTECT, RESTRICT, QuerySet
from django.utils import timezone

from accounts import quotas
from knowledge import batch, passages
from knowledge.chunking import Chunk
from knowledge.models import Entry, EntryRevision, KnowledgePack, SnapshotEntry
from knowledge.services import locking
from knowledge.services.entries import Precondition
from knowledge.shapes import entry_header, pack_counts
from knowledge.states import IndexStatus, PackStatus
from realtime import log
from realtime.errors import IllegalState, NotFound

PURGE_AT_ONCE: Final = 200  # entries in one transaction

Cuts = Mapping[UUID, Sequence[Chunk]]  # by revision


@transaction.atomic
def delete_entry(entry_id: UUID, *, precondition: Precondition | None = None) -> None:
    """Move an entry to the trash: it is not found any more. Its revisions stay, for decisions may cite them."""
    pack, entry = locking.locked_entry(entry_id)
    if precondition:
        precondition(entry.version)
    locking.require_open(pack)
    take_out(pack, [entry])
    locking.after_words_changed(pack)
    log.append(pack, deleted_event(pack, entry))


def restore_entry(entry_id: UUID) -> Entry:
    """Take an entry back out of the trash; its words are found at once, its vectors follow. Raises ``Conflict`` or ``Duplicate``
    when its external id or its text is another entry's by now, ``IllegalState`` when it is not in the trash, ``QuotaExceeded``."""
    cuts = cut_all(Entry.objects.filter(pk=entry_id))
    with transaction.atomic():
        pack, entry = locked_trashed(entry_id)
        locking.require_open(pack)
        batch.ledger(pack, [entry.external_id], [entry.content_hash]).check_room(entry)
        entry.deleted_at = None
        take_in(pack, [entry], cuts)
        locking.after_words_changed(pack)
        quotas.require(pack.owner_id, entries=1)
        log.append(pack, ("entry.restored", {"entry": entry_header(entry), "pack": pack_counts(pack)}))
    return entry


def locked_trashed(entry_id: UUID) -> tuple[KnowledgePack, Entry]:
    pack_id = Entry.objects.filter(pk=entry_id).values_list("pack", flat=True).first()
    if pack_id is None:
        raise NotFound("There is no such entry.")
    pack = locking.locked_pack(pack_id)
    entry = Entry.objects.select_for_update(no_key=True).filter(pk=entry_id, pack=pack).first()
    if entry is None:
        raise NotFound("There is no such entry.")
    check_trashed(entry)
    return pack, entry


def check_trashed(entry: Entry) -> None:
    if entry.deleted_at is None:
        raise IllegalState("the entry is not in the trash", code="not_deleted")


def cut_all(entries: QuerySet[Entry]) -> dict[UUID, Sequence[Chunk]]:
    """The passages of these entries' current revisions, by revision. CPU work: not in a transaction."""
    return {
        row.revision_id: passages.cut(row.revision.content) for row in entries.select_related("revision").iterator()
    }


def take_out(pack: KnowledgePack, entries: Sequence[Entry]) -> None:
    """Into the trash: passages, words and vectors go, the rows stay. The caller settles the pack's words and tells of it."""
    passages.discard(pack, entries)
    for entry in entries:
        entry.deleted_at = timezone.now()
        if entry.index_status == IndexStatus.INDEXING:
            batch.requeue(entry)
        entry.save()
    pack.entry_count -= len(entries)


def take_in(pack: KnowledgePack, entries: Sequence[Entry], cuts: Cuts) -> None:
    """Entries that come (back) into the pack: saved, cut, found by their words, waiting for their vectors."""
    for entry in entries:
        batch.requeue(entry)
        entry.version += 1
        entry.save()
    pieces = [passages.Piece(entry, entry.revision, cut(entry, cuts)) for entry in entries]
    passages.store(pack, pieces)
    pack.entry_count += len(entries)


def cut(entry: Entry, cuts: Cuts) -> Sequence[Chunk]:
    """How the entry's revision is cut; one that came after the cutting is cut now, for it must not be lost."""
    found = cuts.get(entry.revision_id)
    return passages.cut(entry.revision.content) if found is None else found


def deleted_event(pack: KnowledgePack, entry: Entry) -> log.NewEvent:
    return ("entry.deleted", {"entry": {"id": str(entry.pk)}, "pack": pack_counts(pack)})


# --- For good -------------------------------------------------------------------------------------------------------


def purge_trash(pack_id: UUID, older_than: datetime) -> Iterator[int]:
    """Remove the pack's entries that were deleted before ``older_than``, some with each step; how many it were. What a published
    snapshot still shows stays in the trash until the snapshot goes, and packs in the trash are purged whole (``purging``)."""
    while count := _purge_some(pack_id, older_than):
        yield count


def purgeable(older_than: datetime) -> QuerySet[Entry]:
    pinned = SnapshotEntry.objects.filter(revision__entry__isnull=False).values("revision__entry")
    trashed = Entry.objects.filter(deleted_at__lt=older_than).exclude(pack__status=PackStatus.DELETED)
    return trashed.exclude(pk__in=pinned)


@transaction.atomic
def _purge_some(pack_id: UUID, older_than: datetime) -> int:
    pack = locking.locked_pack(pack_id)
    some = purgeable(older_than).filter(pack=pack).order_by("pk")
    entries = list(some.select_for_update(of=("self",))[:PURGE_AT_ONCE])
    if entries:
        purge_entries(pack, entries)
        log.append(pack, ("entry.purged", {"entries": [str(entry.pk) for entry in entries], "pack": pack_counts(pack)}))
    return len(entries)


def purge_entries(pack: KnowledgePack, entries: Sequence[Entry]) -> None:
    """Remove entries of a locked pack with all that hangs on them, in the caller's transaction. Revisions that something must not
    lose (a decision cites them, a snapshot shows them) stay, without an entry."""
    passages.discard(pack, entries)
    # Locked against new references before they are looked for: a foreign key's check waits for this lock.
    revisions = EntryRevision.objects.filter(entry__in=entries)
    ids = list(revisions.select_for_update().order_by("pk").values_list("pk", flat=True))
    EntryRevision.objects.filter(pk__in=_referenced(ids)).update(entry=None)
    Entry.objects.filter(pk__in=[entry.pk for entry in entries]).delete()


def _referenced(revisions: Iterable[UUID]) -> set[UUID]:
    """Those that a row of any app refers to by a foreign key that refuses deletion."""
    found: set[UUID] = set()
    for relation in _refusing_relations():
        rows: Any = relation.related_model._base_manager.filter(**{f"{relation.field.name}__in": list(revisions)})
        found.update(rows.values_list(relation.field.attname, flat=True))
    return found


def _refusing_relations() -> list[Any]:
    relations = EntryRevision._meta.get_fields(include_hidden=True)
    return [
        relation
        for relation in relations
        if getattr(relation, "on_delete", None) in (PROTECT, RESTRICT)
        and relation.auto_created
        and relation.related_model is not Entry  # an entry's own revision goes with it
    ]
