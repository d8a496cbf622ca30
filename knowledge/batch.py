"""Many entries at once: check all and cut all outside the transaction, then write what is good in a handful of statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from django.db.models import Max

from accounts.models import User
from knowledge import drafts, passages
from knowledge.chunking import Chunk
from knowledge.drafts import EntryDraft
from knowledge.models import Entry, EntryRevision, KnowledgePack
from knowledge.states import IndexStatus
from realtime.errors import FieldError, InvalidInput

_OWN_FIELDS = ("tags", "metadata", "source_url", "external_id")  # of the entry; title and content make revisions


Status = Literal["created", "updated", "unchanged", "failed"]


@dataclass(slots=True)
class ItemResult:
    """What became of one submitted entry. Pointers of ``errors`` start at the array: ``/3/title``."""

    index: int
    status: Status = "failed"
    entry: Entry | None = None
    revised: bool = False  # title or content changed, so there is a new revision
    errors: list[FieldError] = field(default_factory=list)


@dataclass(slots=True)
class Prepared:
    """A draft that passed its checks, cut into passages."""

    result: ItemResult
    draft: EntryDraft
    chunks: Sequence[Chunk]


def prepare(items: Sequence[object]) -> tuple[list[ItemResult], list[Prepared]]:
    """A result for every item, and the good ones ready to be written."""
    results, good, seen = [ItemResult(index) for index in range(len(items))], [], set()
    for result, item in zip(results, items, strict=True):
        try:
            draft = drafts.parse(item, f"/{result.index}")
        except InvalidInput as error:
            result.errors = error.errors
            continue
        if draft.external_id is not None and draft.external_id in seen:
            result.errors = [{"pointer": f"/{result.index}/external_id", "detail": "stands twice in this request"}]
            continue
        seen.add(draft.external_id)
        good.append(Prepared(result, draft, passages.cut(draft.content)))
    return results, good


def known_entries(pack: KnowledgePack, prepared: Sequence[Prepared]) -> dict[str, Entry]:
    """The pack's entries that the drafts name by external id, locked in order of their ids."""
    named = [item.draft.external_id for item in prepared if item.draft.external_id]
    found = Entry.objects.select_for_update(no_key=True).filter(pack=pack, deleted_at=None, external_id__in=named)
    return {entry.external_id: entry for entry in found.order_by("pk") if entry.external_id}


Pair = tuple[Entry | None, Prepared]


def without_twins(pack: KnowledgePack, pairs: Sequence[Pair], on_duplicate: str) -> list[Pair]:
    """The pairs that remain to be written when new items with the words of an entry of the pack, or of an earlier item, are left
    out, turned into updates or failed."""
    hashes = [item.draft.content_hash for entry, item in pairs if entry is None]
    found = Entry.objects.select_for_update(no_key=True).filter(pack=pack, deleted_at=None, content_hash__in=hashes)
    twins = {entry.content_hash: entry for entry in found.order_by("-pk")}
    rest: list[Pair] = []
    seen: set[str] = set()
    for entry, item in pairs:
        digest = item.draft.content_hash
        twin = None if entry else twins.get(digest)
        if twin is None and (entry is not None or digest not in seen):
            rest.append((entry, item))
        elif on_duplicate == "fail":
            name = f"entry {twin.pk}" if twin else "an earlier item"
            item.result.errors = [{"pointer": f"/{item.result.index}/content", "detail": f"{name} says the same"}]
        elif on_duplicate == "update" and twin and digest not in seen:
            rest.append((twin, item))
        else:
            item.result.status, item.result.entry = "unchanged", twin
        seen.add(digest)
    return rest


def write(
    pack: KnowledgePack, author: User | None, pairs: Sequence[tuple[Entry | None, Prepared]], note: str = ""
) -> None:
    """Insert drafts that come without an entry and bring the other entries up to their drafts. Sets each result, and the pack's
    counts in memory; the pack's row is locked."""
    passages.discard(pack, [entry for entry, item in pairs if entry and entry.content_hash != item.draft.content_hash])
    last = Entry.objects.filter(pack=pack).aggregate(last=Max("ordinal"))["last"] or 0
    pieces: list[passages.Piece] = []
    for place, (entry, item) in enumerate(pairs, last + 1):
        target = entry or Entry(pack=pack, ordinal=place, revision_number=0)
        item.result.entry = target
        item.result.status = _change(target, item.draft)
        if target.content_hash != item.draft.content_hash:
            pieces.append(passages.Piece(target, _next_revision(target, item.draft, author, note), item.chunks))
            item.result.revised = item.result.status == "updated"
    _save([item.result.entry for _, item in pairs if item.result.entry and item.result.status != "unchanged"])
    pack.entry_count += sum(entry is None for entry, _ in pairs)
    EntryRevision.objects.bulk_create(piece.revision for piece in pieces)
    passages.store(pack, pieces)


def requeue(entry: Entry) -> None:
    """To be indexed again, from the first attempt; whoever is at work on it is fenced off."""
    entry.index_status, entry.index_error = IndexStatus.PENDING, ""
    entry.lease_token += 1
    entry.lease_expires_at = entry.available_at = None
    entry.attempt = 0


def _change(entry: Entry, draft: EntryDraft) -> Status:
    """Give the entry its draft's fields, except for what is the revision's."""
    same = entry.content_hash == draft.content_hash and all(
        getattr(entry, name) == getattr(draft, name) for name in _OWN_FIELDS
    )
    if same:
        return "unchanged"
    for name in _OWN_FIELDS:
        setattr(entry, name, getattr(draft, name))
    if entry._state.adding:
        return "created"
    entry.version += 1
    return "updated"


def _next_revision(entry: Entry, draft: EntryDraft, author: User | None, note: str) -> EntryRevision:
    """The entry's next revision, not saved yet; the entry points to it and waits to be indexed."""
    revision = EntryRevision(
        entry=entry,
        number=entry.revision_number + 1,
        title=draft.title,
        content=draft.content,
        content_hash=draft.content_hash,
        author=author,
        note=note,
    )
    entry.revision, entry.revision_number = revision, revision.number
    entry.title, entry.content_hash = draft.title, draft.content_hash
    requeue(entry)
    return revision


def _save(entries: Sequence[Entry]) -> None:
    # Revisions follow in a later statement: the foreign key between the two is checked at commit.
    fresh = [entry for entry in entries if entry._state.adding]
    for entry in entries:
        if not entry._state.adding:
            entry.save()
    Entry.objects.bulk_create(fresh)
