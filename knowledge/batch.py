"""Many entries at once: check all and cut all outside the transaction, decide what each becomes, then write in a handful of
statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from django.db.models import Max, Q

from accounts.models import User
from knowledge import drafts, passages
from knowledge.chunking import Chunk
from knowledge.drafts import EntryDraft
from knowledge.errors import Duplicate
from knowledge.models import Entry, EntryRevision, KnowledgePack
from knowledge.states import IndexStatus
from realtime.errors import Conflict, FieldError, InvalidInput

OWN_FIELDS: Final = ("tags", "metadata", "source_url", "external_id")  # of the entry; title and content make revisions
GAP: Final = 64  # between ordinals, so that a few entries can be moved without numbering all of them anew

Status = Literal["created", "updated", "unchanged", "skipped", "failed"]
OnDuplicate = Literal["fail", "skip", "update"]


@dataclass(slots=True)
class ItemResult:
    """What became of one submitted entry. Pointers of ``errors`` start at the array: ``/3/title``. When another entry of the pack
    has the same title and content, ``twin`` is that entry."""

    index: int
    status: Status = "failed"
    entry: Entry | None = None
    revised: bool = False  # title or content changed, so there is a new revision
    errors: list[FieldError] = field(default_factory=list)
    twin: Entry | None = None


@dataclass(slots=True)
class Prepared:
    """A draft that passed its checks, cut into passages."""

    result: ItemResult
    draft: EntryDraft
    chunks: Sequence[Chunk]
    fields: dict[str, Any]  # what the entry itself takes from the draft, beside a revision


@dataclass(slots=True)
class Step:
    """One thing to write: give ``entry`` the fields of ``item``, and a revision when the text differs."""

    entry: Entry
    item: Prepared


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
        good.append(Prepared(result, draft, passages.cut(draft.content), _own_fields(draft)))
    return results, good


def _own_fields(draft: EntryDraft) -> dict[str, Any]:
    return {name: getattr(draft, name) for name in OWN_FIELDS}


class Ledger:
    """Which external ids and which texts the pack has, kept up to date while a batch is decided item by item."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.by_external: dict[str, Entry] = {}
        self.by_hash: dict[str, Entry] = {}
        self._facts: dict[Entry, tuple[str | None, str]] = {}
        for entry in entries:
            self.put(entry, entry.external_id, entry.content_hash)

    def put(self, entry: Entry, external_id: str | None, content_hash: str) -> None:
        old_external, old_hash = self._facts.get(entry, (None, ""))
        if old_external and self.by_external.get(old_external) is entry:
            del self.by_external[old_external]
        if self.by_hash.get(old_hash) is entry:
            del self.by_hash[old_hash]
        if external_id:
            self.by_external[external_id] = entry
        # Of old twins the first keeps the place: they were there before twins were refused.
        self.by_hash.setdefault(content_hash, entry)
        self._facts[entry] = (external_id, content_hash)

    def check_room(self, entry: Entry) -> None:
        """Raise ``Conflict`` when the pack cannot take the entry (back), else count it in."""
        if entry.external_id and entry.external_id in self.by_external:
            raise Conflict("another entry of the pack has this external_id", code="external_id_taken")
        if twin := self.by_hash.get(entry.content_hash):
            raise Duplicate(twin.pk, twin.title)
        self.put(entry, entry.external_id, entry.content_hash)

    def external_id_of(self, entry: Entry) -> str | None:
        return self._facts[entry][0]


def ledger(pack: KnowledgePack, external_ids: Iterable[str | None], hashes: Iterable[str]) -> Ledger:
    """The pack's entries that have one of these external ids or texts, locked in order of their ids."""
    named = [external_id for external_id in external_ids if external_id]
    same = Q(external_id__in=named) | Q(content_hash__in=list(hashes))
    found = Entry.objects.select_for_update(no_key=True).filter(same, pack=pack, deleted_at=None)
    return Ledger(found.order_by("pk"))


def last_ordinal(pack: KnowledgePack) -> int:
    return Entry.objects.filter(pack=pack).aggregate(last=Max("ordinal"))["last"] or 0


def decide(pack: KnowledgePack, prepared: Sequence[Prepared], on_duplicate: OnDuplicate) -> list[Step]:
    """What is to be written for each draft, in order; items that come to nothing get their result here."""
    drafted = [item.draft for item in prepared]
    known = ledger(pack, (draft.external_id for draft in drafted), (draft.content_hash for draft in drafted))
    last = last_ordinal(pack)
    steps: list[Step] = []
    for item in prepared:
        named = known.by_external.get(item.draft.external_id or "")
        twin = known.by_hash.get(item.draft.content_hash)
        if twin is None or twin is named or _is_already(named, item.draft):
            if named is None:
                last += GAP
            entry = named or Entry(pack=pack, ordinal=last, revision_number=0)
        elif on_duplicate == "update" and named is None:
            item.result.twin = entry = twin
            item.fields = _named_fields(item.draft)
        else:
            _refuse(item, twin, on_duplicate)
            continue
        external_id = item.fields["external_id"] if "external_id" in item.fields else known.external_id_of(entry)
        known.put(entry, external_id, item.draft.content_hash)
        steps.append(Step(entry, item))
    return steps


def _is_already(named: Entry | None, draft: EntryDraft) -> bool:
    """Whether the entry has that text itself, beside an older twin."""
    return named is not None and named.content_hash == draft.content_hash


def _named_fields(draft: EntryDraft) -> dict[str, Any]:
    """What a twin takes over: the fields that the draft names. Its own external id stays unless there is another."""
    fields = {name: value for name, value in _own_fields(draft).items() if name in draft.model_fields_set}
    if fields.get("external_id", "") is None:
        del fields["external_id"]
    return fields


def _refuse(item: Prepared, twin: Entry, on_duplicate: OnDuplicate) -> None:
    result = item.result
    result.twin = twin
    if on_duplicate == "skip":
        result.status, result.entry = "skipped", twin
    else:
        result.errors = Duplicate(twin.pk, item.draft.title, f"/{result.index}").errors


def write(pack: KnowledgePack, author: User | None, steps: Sequence[Step], note: str = "") -> None:
    """Insert entries that are new and bring the others up to their drafts. Sets each result, and the pack's counts in memory; the
    pack's row is locked."""
    fresh = [step.entry for step in steps if step.entry._state.adding]
    passages.discard(pack, [s.entry for s in steps if s.entry.content_hash and _differs(s)])
    pieces: list[passages.Piece] = []
    for step in steps:
        result, draft = step.item.result, step.item.draft
        result.entry, result.status = step.entry, change(step.entry, step.item.fields, revised=_differs(step))
        if _differs(step):
            result.revised = result.status == "updated"
            revision = next_revision(step.entry, draft.title, draft.content, author, note)
            pieces.append(passages.Piece(step.entry, revision, step.item.chunks))
    save(list(dict.fromkeys(step.entry for step in steps if step.item.result.status != "unchanged")))
    pack.entry_count += len(set(fresh))
    EntryRevision.objects.bulk_create(piece.revision for piece in pieces)
    passages.store(pack, pieces)


def _differs(step: Step) -> bool:
    return step.entry.content_hash != step.item.draft.content_hash


def requeue(entry: Entry) -> None:
    """To be indexed again, from the first attempt; whoever is at work on it is fenced off."""
    entry.index_status, entry.index_error = IndexStatus.PENDING, ""
    entry.lease_token += 1
    entry.lease_expires_at = entry.available_at = None
    entry.attempt = 0


def change(entry: Entry, fields: dict[str, Any], *, revised: bool) -> Status:
    """Give the entry these fields. ``revised``: its text changes too."""
    if not revised and all(getattr(entry, name) == value for name, value in fields.items()):
        return "unchanged"
    for name, value in fields.items():
        setattr(entry, name, value)
    if not entry.content_hash:
        return "created"
    if not entry._state.adding:
        entry.version += 1
    return "updated"


def next_revision(entry: Entry, title: str, content: str, author: User | None, note: str) -> EntryRevision:
    """The entry's next revision, not saved yet; the entry points to it and waits to be indexed."""
    revision = EntryRevision(
        entry=entry,
        number=entry.revision_number + 1,
        title=title,
        content=content,
        content_hash=drafts.content_hash(title, content),
        author=author,
        note=note,
    )
    entry.revision, entry.revision_number = revision, revision.number
    entry.title, entry.content_hash = title, revision.content_hash
    requeue(entry)
    return revision


def save(entries: Sequence[Entry]) -> None:
    # Revisions follow in a later statement: the foreign key between the two is checked at commit.
    fresh = [entry for entry in entries if entry._state.adding]
    for entry in entries:
        if not entry._state.adding:
            entry.save()
    Entry.objects.bulk_create(fresh)
