"""Adding and changing entries. Work on text (checking, cutting) is done before the transaction begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import quotas
from accounts.models import User
from knowledge import batch, drafts, passages, sizes, words
from knowledge.batch import ItemResult, OnDuplicate, Status
from knowledge.chunking import Chunk
from knowledge.errors import Duplicate
from knowledge.models import Entry, EntryRevision, KnowledgePack
from knowledge.services import locking
from knowledge.shapes import entry_header, entry_progress, pack_counts
from knowledge.states import IndexStatus
from realtime import log
from realtime.errors import Conflict, IllegalState, InvalidInput, NotFound

Precondition = Callable[[int], None]


def add_entries(
    pack: KnowledgePack,
    author: User | None,
    items: Sequence[object],
    note: str = "",
    *,
    on_duplicate: OnDuplicate = "fail",
) -> list[ItemResult]:
    """Add entries, or revise those of the same ``external_id``; one result for each item (shape: ``drafts.EntryDraft``), in order.

    A pack holds each text (title and content) once. An item whose text another entry has already fails, is skipped, or gives that
    entry its tags, metadata, source and external id, as ``on_duplicate`` says.

    A bad item is reported and does not sink the rest. The good ones are committed together, and their words are searchable from
    then on; their vectors follow. Raises ``IllegalState`` when the pack is archived or deleted, ``QuotaExceeded`` when its owner has no
    room for all of them.
    """
    results, good = batch.prepare(items)
    with transaction.atomic():
        locked = locking.locked_pack(pack.pk)
        locking.require_open(locked)
        steps = batch.decide(locked, good, on_duplicate)
        batch.write(locked, author, steps, note)
        _record(locked, results)
        _check_room(locked, results)
    return results


def add_entry(
    pack: KnowledgePack, author: User | None, item: object, *, on_duplicate: OnDuplicate = "fail"
) -> tuple[Entry, Status]:
    """One entry, and whether it was created, updated, unchanged or skipped (then the entry is its twin). Raises ``InvalidInput``
    or ``Duplicate`` where ``add_entries`` would report a failed item."""
    drafts.parse(item)
    (result,) = add_entries(pack, author, [item], on_duplicate=on_duplicate)
    if result.entry is not None:
        return result.entry, result.status
    if result.twin is not None:
        raise Duplicate(result.twin.pk, result.twin.title)
    raise InvalidInput("The entry cannot be added.", errors=result.errors)


def revise_entry(
    entry_id: UUID,
    author: User | None,
    changes: Mapping[str, Any],
    note: str = "",
    *,
    precondition: Precondition | None = None,
) -> Entry:
    """Change fields of an entry (those of ``drafts.EntryPatch``); what is not named stays as it is under the lock.

    New words make a new revision and are indexed again; another language indexes the words alone again. ``precondition`` gets the
    version read under the lock and may refuse. Raises ``InvalidInput``, ``Conflict`` (external id taken), ``Duplicate``,
    ``IllegalState``, ``NotFound``.
    """
    named = drafts.checked(drafts.EntryPatch, {**changes, **({"note": note} if note else {})}).named()
    note = named.pop("note", "")
    known = _current_revision(entry_id)
    text = Text(named.pop("title", None), named.pop("content", None))
    chunks = passages.cut(text.content or known.content) if text.named else []
    with transaction.atomic():
        pack, entry = locking.locked_entry(entry_id)
        if precondition:
            precondition(entry.version)
        locking.require_open(pack)
        if text.named and text.content is None and entry.revision_id != known.pk:
            chunks = passages.cut(entry.revision.content)  # revised since it was read: rare, and nothing may be lost
        _change(pack, entry, author, text, chunks, _own_changes(named, author), note)
    return entry


@dataclass(frozen=True, slots=True)
class Text:
    """The part of a change that makes a revision; None stands for what stays."""

    title: str | None
    content: str | None

    @property
    def named(self) -> bool:
        return self.title is not None or self.content is not None


def revert_entry(
    entry_id: UUID, number: int, author: User | None, *, precondition: Precondition | None = None
) -> Entry:
    """Give the entry the title and content of an earlier revision, as a new one. Raises as ``revise_entry`` does."""
    revision = EntryRevision.objects.filter(entry=entry_id, number=number).first()
    if revision is None:
        raise NotFound("There is no such revision.")
    changes = {"title": revision.title, "content": revision.content}
    return revise_entry(entry_id, author, changes, f"reverted to revision {number}", precondition=precondition)


def set_entry_enabled(entry_id: UUID, *, enabled: bool) -> Entry:
    """Hide an entry from every search, or show it again, without touching its index."""
    return revise_entry(entry_id, None, {"enabled": enabled})


@transaction.atomic
def retry_indexing(entry_id: UUID) -> Entry:
    """Queue a failed entry again, with a fresh count of attempts."""
    pack, entry = locking.locked_entry(entry_id)
    locking.refuse_deleted(pack)
    check_retry(entry)
    batch.requeue(entry)
    entry.save()
    locking.request_indexing(pack)
    log.append(pack, ("entry.queued", {"entry": entry_progress(entry), "pack": pack_counts(pack)}))
    return entry


def check_retry(entry: Entry) -> None:
    if entry.index_status != IndexStatus.FAILED:
        raise IllegalState(f"an entry that is {entry.index_status} cannot be retried", code="illegal_transition")


def review(reviewed: bool, author: User | None) -> dict[str, Any]:
    """The fields that say who looked at an entry last, and when."""
    if not reviewed:
        return {"reviewed_at": None, "reviewed_by": None}
    return {"reviewed_at": timezone.now(), "reviewed_by": author}


def _current_revision(entry_id: UUID) -> EntryRevision:
    current = Entry.objects.filter(pk=entry_id, deleted_at=None).select_related("revision").first()
    if current is None:
        raise NotFound("There is no such entry.")
    return current.revision


def _own_changes(named: dict[str, Any], author: User | None) -> dict[str, Any]:
    fields = dict(named)
    return {**review(fields.pop("reviewed"), author), **fields} if "reviewed" in fields else fields


def _change(
    pack: KnowledgePack,
    entry: Entry,
    author: User | None,
    text: Text,
    chunks: Sequence[Chunk],
    fields: dict[str, Any],
    note: str,
) -> None:
    """Carry out a change of a locked entry."""
    title = entry.title if text.title is None else text.title
    content = entry.revision.content if text.named and text.content is None else text.content or ""
    revised = text.named and drafts.content_hash(title, content) != entry.content_hash
    _check_free(pack, entry, fields.get("external_id"), drafts.content_hash(title, content) if revised else "")
    other_language = fields.get("language", entry.language) != entry.language
    if batch.change(entry, fields, revised=revised) == "unchanged":
        return
    if revised:
        passages.discard(pack, [entry])
        revision = batch.next_revision(entry, title, content, author, note)
        entry.save()
        revision.save()
        passages.store(pack, [passages.Piece(entry, revision, chunks)])
        quotas.require(pack.owner_id, storage_bytes=lambda: sizes.of_revisions([revision.pk]))
    else:
        entry.save()
        if other_language:
            words.remove(pack, [entry.pk])
            words.add(pack, [entry.pk])
    locking.after_words_changed(pack)
    kind = "entry.revised" if revised else "entry.updated"
    log.append(pack, (kind, {"entry": entry_header(entry), "pack": pack_counts(pack)}))


def _check_free(pack: KnowledgePack, entry: Entry, external_id: str | None, content_hash: str) -> None:
    """Refuse an external id that another entry has, and a new text that another entry has."""
    others = Entry.objects.filter(pack=pack, deleted_at=None).exclude(pk=entry.pk)
    if external_id and others.filter(external_id=external_id).exists():
        raise Conflict("another entry of the pack has this external_id", code="external_id_taken")
    if content_hash and (twin := others.filter(content_hash=content_hash).first()):
        raise Duplicate(twin.pk, twin.title)


def _check_room(pack: KnowledgePack, results: Sequence[ItemResult]) -> None:
    created = sum(result.status == "created" for result in results)
    revisions = [
        result.entry.revision_id for result in results if result.entry and result.status in ("created", "updated")
    ]
    if revisions:
        quotas.require(pack.owner_id, entries=created, storage_bytes=lambda: sizes.of_revisions(revisions))


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
