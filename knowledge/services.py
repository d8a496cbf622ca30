"""Every change of packs and entries. The API, the admin, tasks and the console all call these; nothing else writes.

Each function locks the pack's row first (then entries), changes rows and appends the events of that change in one transaction;
nudges go out after the commit. Work on text (checking, cutting) is done before the transaction begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from knowledge import batch, drafts, passages, words
from knowledge.batch import ItemResult, Status
from knowledge.models import Entry, KnowledgePack, Visibility
from knowledge.shapes import entry_header, entry_progress, pack_counts, pack_header
from knowledge.states import IndexStatus, PackStatus, check_pack_transition
from realtime import log, nudge
from realtime.errors import Conflict, IllegalState, InvalidInput, NotFound

PACK_FIELDS = ("name", "description", "visibility", "status", "tags", "language")
_UNINDEXED_EDIT = ("enabled", "updated_at", "version")


# --- Packs ----------------------------------------------------------------------------------------------------------


@transaction.atomic
def create_pack(
    owner: User,
    *,
    name: str,
    description: str = "",
    visibility: str = Visibility.PRIVATE,
    tags: Sequence[str] = (),
    language: str = "english",
) -> KnowledgePack:
    """A new pack. It is a draft until its first entry is ready (or its owner activates it)."""
    pack = KnowledgePack.objects.create(
        owner=owner, name=name, description=description, visibility=visibility, tags=list(tags), language=language
    )
    log.append(pack, ("pack.created", {"pack": pack_header(pack)}))
    return pack


@transaction.atomic
def update_pack(
    pack_id: UUID, changes: Mapping[str, Any], *, precondition: Callable[[int], None] | None = None
) -> KnowledgePack:
    """Change some of ``PACK_FIELDS``. ``precondition`` gets the version read under the lock and may refuse.

    A change of language indexes all words anew within the transaction. Raises ``IllegalState`` for a step that the table of
    transitions does not have, ``NotFound`` for a deleted pack.
    """
    pack = locked_pack(pack_id)
    if precondition:
        precondition(pack.version)
    _refuse_deleted(pack)
    changed = {name: value for name, value in changes.items() if getattr(pack, name) != value}
    if not changed:
        return pack
    check_pack_transition(pack.status, changed.get("status", pack.status))
    for name, value in changed.items():
        setattr(pack, name, value)
    if "language" in changed:
        words.rebuild(pack)
        pack.index_epoch += 1
    pack.version += 1
    pack.save(update_fields=[*changed, "version", "updated_at", *passages.STATISTICS])
    log.append(pack, ("pack.updated", {"pack": pack_header(pack)}))
    return pack


@transaction.atomic
def delete_pack(pack_id: UUID, *, precondition: Callable[[int], None] | None = None) -> None:
    """Move a pack to the trash: nobody sees or searches it any more; its rows stay."""
    pack = locked_pack(pack_id)
    if precondition:
        precondition(pack.version)
    _refuse_deleted(pack)
    check_pack_transition(pack.status, PackStatus.DELETED)
    pack.status, pack.deleted_at = PackStatus.DELETED, timezone.now()
    pack.version += 1
    pack.save(update_fields=["status", "deleted_at", "version", "updated_at"])
    log.append(pack, ("pack.deleted", {"pack": pack_header(pack)}))


# --- Entries --------------------------------------------------------------------------------------------------------


def add_entries(pack: KnowledgePack, author: User | None, items: Sequence[object], note: str = "") -> list[ItemResult]:
    """Add entries, or revise those of the same ``external_id``; one result for each item (shape: ``drafts.EntryDraft``), in order.

    A bad item is reported and does not sink the rest. The good ones are committed together, and their words are searchable from
    then on; their vectors follow. Raises ``IllegalState`` when the pack is archived or deleted.
    """
    results, good = batch.prepare(items)
    with transaction.atomic():
        locked = locked_pack(pack.pk)
        _require_open(locked)
        known = batch.known_entries(locked, good)
        batch.write(locked, author, [(known.get(item.draft.external_id or ""), item) for item in good], note)
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
        pack, entry = _locked_entry(entry_id)
        _require_open(pack)
        if any(other.pk != entry_id for other in batch.known_entries(pack, good).values()):
            raise Conflict("another entry of the pack has this external_id", code="external_id_taken")
        batch.write(pack, author, [(entry, good[0])], note)
        _record(pack, results)
    return entry


@transaction.atomic
def delete_entry(entry_id: UUID) -> None:
    """Remove an entry from its pack. Its revisions stay, for decisions may cite them."""
    pack, entry = _locked_entry(entry_id)
    _require_open(pack)
    passages.discard(pack, [entry])
    entry.deleted_at = timezone.now()
    if entry.index_status == IndexStatus.INDEXING:
        batch.requeue(entry)
    entry.save()
    pack.entry_count -= 1
    _after_words_changed(pack)
    log.append(pack, ("entry.deleted", {"entry": {"id": str(entry.pk)}, "pack": pack_counts(pack)}))


@transaction.atomic
def set_entry_enabled(entry_id: UUID, *, enabled: bool) -> Entry:
    """Hide an entry from every search, or show it again, without touching its index."""
    pack, entry = _locked_entry(entry_id)
    _require_open(pack)
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
    pack, entry = _locked_entry(entry_id)
    if entry.index_status != IndexStatus.FAILED:
        raise IllegalState(f"an entry that is {entry.index_status} cannot be retried", code="illegal_transition")
    batch.requeue(entry)
    entry.save()
    request_indexing(pack)
    log.append(pack, ("entry.queued", {"entry": entry_progress(entry), "pack": pack_counts(pack)}))
    return entry


# --- Shared ---------------------------------------------------------------------------------------------------------


def locked_pack(pack_id: UUID) -> KnowledgePack:
    """The pack, its row locked until the transaction ends. Readers and foreign keys to it are not held up."""
    pack = KnowledgePack.objects.select_for_update(no_key=True).filter(pk=pack_id).first()
    if pack is None:
        raise NotFound("There is no such knowledge pack.")
    return pack


def request_indexing(pack: KnowledgePack) -> None:
    """Wake an index worker after the commit. When that is lost, the sweeper finds the entries."""
    nudge.send_task_on_commit("knowledge.tasks.index_pack", [str(pack.pk)], "index")


def _locked_entry(entry_id: UUID) -> tuple[KnowledgePack, Entry]:
    pack_id = Entry.objects.filter(pk=entry_id).values_list("pack", flat=True).first()
    if pack_id is None:
        raise NotFound("There is no such entry.")
    pack = locked_pack(pack_id)
    entry = Entry.objects.select_for_update(no_key=True).filter(pk=entry_id, deleted_at__isnull=True).first()
    if entry is None:
        raise NotFound("There is no such entry.")
    return pack, entry


def _record(pack: KnowledgePack, results: Sequence[ItemResult]) -> None:
    """What remains to be done after ``batch.write``: statistics, an event for each changed entry, a nudge."""
    changed = [result for result in results if result.status in ("created", "updated")]
    if not changed:
        return
    _after_words_changed(pack)
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


def _after_words_changed(pack: KnowledgePack) -> None:
    passages.settle(pack)
    pack.save(update_fields=["entry_count", "updated_at", *passages.STATISTICS])
    request_indexing(pack)


def _refuse_deleted(pack: KnowledgePack) -> None:
    if pack.status == PackStatus.DELETED:
        raise NotFound("There is no such knowledge pack.")


def _require_open(pack: KnowledgePack) -> None:
    if pack.status in (PackStatus.ARCHIVED, PackStatus.DELETED):
        raise IllegalState(f"the pack is {pack.status}: its entries cannot be changed", code="pack_closed")
