"""What committing a draft would do to the pack as it is now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from knowledge import drafts
from knowledge.drafts import EntryDraft
from knowledge.models import Entry, Import
from realtime.errors import InvalidInput

AFTERWARDS: Final = (
    "enabled",
    "reviewed_at",
    "review_by",
)  # fields of an export that are set on the entry once it is there
_OWN: Final = ("title", "tags", "metadata", "source_url", "external_id")


@dataclass(slots=True)
class Plan:
    """``action`` is created, updated, unchanged, or "" with a reason why it cannot be."""

    action: str = ""
    reason: str = ""
    diff: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Seen:
    """What earlier items of the same import have brought."""

    hashes: set[str] = field(default_factory=set)
    external_ids: set[str] = field(default_factory=set)


def entry_fields(raw: dict[str, Any]) -> dict[str, Any]:
    """The part of an item's draft that ``services.add_entries`` takes."""
    later = {name for name in (*AFTERWARDS, "language") if name not in EntryDraft.model_fields}
    return {name: value for name, value in raw.items() if name not in later}


def plan(job: Import, raws: Sequence[dict[str, Any]], seen: Seen) -> list[Plan]:
    """A plan for each draft, in order."""
    parsed = [_parsed(raw) for raw in raws]
    good = [draft for draft in parsed if isinstance(draft, EntryDraft)]
    entries = Entry.objects.filter(pack=job.pack_id, deleted_at=None).select_related("revision")
    named = entries.filter(external_id__in=[draft.external_id for draft in good if draft.external_id])
    by_id = {entry.external_id: entry for entry in named}
    twins = {
        entry.content_hash: entry for entry in entries.filter(content_hash__in=[draft.content_hash for draft in good])
    }
    return [
        Plan(reason=draft) if isinstance(draft, str) else _plan(job, draft, by_id.get(draft.external_id), twins, seen)
        for draft in parsed
    ]


def _parsed(raw: dict[str, Any]) -> EntryDraft | str:
    try:
        return drafts.parse(entry_fields(raw))
    except InvalidInput as error:
        return "; ".join(f"{found['pointer'].lstrip('/') or 'entry'}: {found['detail']}" for found in error.errors[:5])


def _plan(job: Import, draft: EntryDraft, known: Entry | None, twins: dict[str, Entry], seen: Seen) -> Plan:
    if draft.external_id and draft.external_id in seen.external_ids:
        return Plan(reason="external_id: stands twice in this import")
    again = draft.content_hash in seen.hashes
    seen.hashes.add(draft.content_hash)
    if draft.external_id:
        seen.external_ids.add(draft.external_id)
    if known:
        return _update(known, draft)
    twin = twins.get(draft.content_hash)
    if twin is None and not again:
        return Plan("created")
    if job.on_duplicate == "fail":
        where = f"The entry {twin.title!a} ({twin.pk}) of the pack" if twin else "An earlier item of this import"
        return Plan(reason=f"{where} says the same.")
    return _update(twin, draft) if twin and job.on_duplicate == "update" else Plan("unchanged")


def _update(entry: Entry, draft: EntryDraft) -> Plan:
    changed = [name for name in _OWN if getattr(entry, name) != getattr(draft, name)]
    old, new = entry.revision.content, draft.content
    if old != new:
        changed.insert(1 if changed[:1] == ["title"] else 0, "content")
    if not changed:
        return Plan("unchanged")
    before, after = Counter(old.splitlines()), Counter(new.splitlines())
    lines = {"lines_added": (after - before).total(), "lines_removed": (before - after).total()} if old != new else {}
    return Plan("updated", diff={"fields": changed, **lines})
