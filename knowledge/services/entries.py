"""Changes of entries. Work on text (checking, cutting) is done before the transaction begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from knowledge import batch, drafts, passages
from knowledge.batch import ItemResult, Status
from knowledge.models import Entry, KnowledgePack
from knowledge.services import locking
from knowledge.shapes import entry_header, entry_progress, pack_counts
from knowledge.states import IndexStatus
from realtime import log
from realtime.errors import Conflict, IllegalState, InvalidInput, NotFound

_UNINDEXED_EDIT = ("enabled", "updated_at", "version")


def add_entries(
    pack: KnowledgePack,
    author: User | None,
    items: Sequence[object],
    note: str = "",
    on_duplicate: str | None = None,
) -> list[ItemResult]:
    """Add entries, or revise those of the same ``external_id``; one result for each item (shape: ``drafts.EntryDraft``), in order.

    A bad item is reported and does not sink the rest. The good ones are committed together, and their words are searchable from
    then on; their vectors follow. Raises ``IllegalState`` when the pack is archived or deleted.

    ``on_duplicate`` (skip, update, fail) says what happens to an item whose title and content the pack already has under another
    or no external id; None adds it.
    """
    results, good = batch.prepare(items)
    with transaction.atomic():
        locked = locking.locked_pack(pack.pk)
        locking.require_open(locked)
        known = batch.known_entries(locked, good)
        pairs = [(known.get(item.draft.external_id or ""), item) for item in good]
        batch.write(locked, author, batch.without_twins(locked, pairs, on_duplicate) if on_duplicate else pairs, note)
        _record(locked, results)
    return results


def add_entry(pack: KnowledgePack, author: User | None, item: object) -> tuple[Entry, Status]:
    """One entry, and whether it was created, updated or unchanged. Raises ``InvalidInput`` where ``add_entries`` would report a
    failed item."""
    drafts.parse(item)
    (result,) = add_entries(pack, author, [item])
    if result.entry is None:
        raise InvalidInput("The entry cannot be added.", errors=result.errors)
    return result.entry, result.status


def revise_entry(entry_id: UUID, author: User | None, changes: Mapping[str, Any], note: str = "") -> Entry:
    """Change fields of an entry (those of ``drafts.EntryDraft``). New words make a new revision and are indexed again; otherwise
    the entry alone changes. Raises ``InvalidInput``, ``Conflict`` (external id taken), ``IllegalState``, ``NotFound``."""
    current = Entry.objects.filter(pk=entry_id, deleted_at=None).select_related("revision").first()
    if current is None:
        raise NotFound("There is no such entry.")
    item = {name: getattr(current, name) for name in ("title", "tags", "metadata", "source_url", "external_id")}
    item = {**item, "content": current.revision.content, **changes}
    drafts.parse(item)
    results, good = batch.prepare([item])
    with transaction.atomic():
        pack, entry = locking.locked_entry(entry_id)
        locking.require_open(pack)
        if any(other.pk != entry_id for other in batch.known_entries(pack, good).values()):
            raise Conflict("another entry of the pack has this external_id", code="external_id_taken")
        batch.write(pack, author, [(entry, good[0])], note)
        _record(pack, results)
    return entry


@transaction.atomic
def delete_entry(entry_id: UUID) -> None:
    """Remove an entry from its pack. Its revisions stay, for decisions may cite them."""
    pack, entry = locking.locked_entry(entry_id)
    locking.require_open(pack)
    passages.discard(pack, [entry])
    entry.deleted_at = timezone.now()
    if entry.index_status == IndexStatus.INDEXING:
        batch.requeue(entry)
    entry.save()
    pack.entry_count -= 1
    locking.after_words_changed(pack)
    log.append(pack, ("entry.deleted", {"entry": {"id": str(entry.pk)}, "pack": pack_counts(pack)}))


@transaction.atomic
def set_entry_enabled(entry_id: UUID, *, enabled: bool) -> Entry:
    """Hide an entry from every search, or show it again, without touching its index."""
    pack, entry = locking.locked_entry(entry_id)
    locking.require_open(pack)
    if entry.enabled == enabled:
        return entry
    entry.enabled = enabled
    entry.version += 1
    entry.save(update_fields=_UNINDEXED_EDIT)
    pack.index_epoch += 1
    pack.save(update_fields=["index_epoch", "updated_at"])
    log.append(pack, ("entry.updated", {"entry": entry_header(entry), "pack": pack_counts(pack)}))
    return entry


@transaction.atomic
def retry_indexing(entry_id: UUID) -> Entry:
    """Queue a failed entry again, with a fresh count of attempts."""
    pack, entry = locking.locked_entry(entry_id)
    if entry.index_status != IndexStatus.FAILED:
        raise IllegalState(f"an entry that is {entry.index_status} cannot be retried", code="illegal_transition")
    batch.requeue(entry)
    entry.save()
    locking.request_indexing(pack)
    log.append(pack, ("entry.queued", {"entry": entry_progress(entry), "pack": pack_counts(pack)}))
    return entry


def _record(pack: KnowledgePack, results: Sequence[ItemResult]) -> None:
    """What remains to be done after ``batch.write``: statistics, an event for each changed entry, a nudge."""
    changed = [result for result in results if result.status in ("created", "updated")]
    if not changed:
        return
    locking.after_words_changed(pack)
    log.append(
        pack,
        *(
            (_kind(result), {"entry": entry_header(result.entry), "pack": pack_counts(pack)})
            for result in changed
            if result.entry
        ),
    )


def _kind(result: ItemResult) -> str:
    if result.status == "created":
        return "entry.created"
    return "entry.revised" if result.revised else "entry.updated"
