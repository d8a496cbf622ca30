"""One action on many entries of a pack: what can be done is done together, what cannot is reported with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from uuid import UUID

from django.db import transaction

from accounts import quotas
from accounts.models import User
from knowledge import batch, passages, sizes
from knowledge.drafts import TAGS_MAX
from knowledge.models import Entry, KnowledgePack
from knowledge.services import locking, trash
from knowledge.services.entries import check_retry, review
from knowledge.shapes import entry_header, entry_progress, pack_counts
from realtime import log
from realtime.errors import InvalidInput, NotFound, QuorumError

Action = Literal["tag", "untag", "enable", "disable", "delete", "restore", "move", "retry", "review"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)


@dataclass(slots=True)
class BulkResult:
    """What became of one id. ``error`` says why nothing did."""

    id: UUID
    status: Literal["updated", "unchanged", "failed"] = "failed"
    error: QuorumError | None = None


@dataclass(slots=True)
class Job:
    """A bulk action under the locks of its packs."""

    action: Action
    pack: KnowledgePack
    author: User | None
    tags: Sequence[str]
    target: KnowledgePack  # where entries come into: the pack itself, but for a move
    cuts: trash.Cuts
    ledger: batch.Ledger = field(default_factory=lambda: batch.Ledger([]))  # of the target


def bulk_entries(
    pack: KnowledgePack,
    author: User | None,
    action: Action,
    ids: Sequence[UUID],
    *,
    tags: Sequence[str] = (),
    to: KnowledgePack | None = None,
) -> list[BulkResult]:
    """Carry out ``action`` on the entries of ``ids`` (those in the trash for ``restore``), one result for each, in order.

    ``tags`` belong to ``tag`` and ``untag``, the pack ``to`` to ``move``: the caller has checked that the person may edit both.
    Raises ``IllegalState`` when a pack is archived or deleted, ``QuotaExceeded`` when its owner has no room for what comes in.
    """
    results = [BulkResult(entry_id) for entry_id in dict.fromkeys(ids)]
    wanted = Entry.objects.filter(pack=pack, pk__in=[result.id for result in results])
    comes_in = action in ("restore", "move")
    cuts = trash.cut_all(wanted.filter(deleted_at__isnull=action == "move")) if comes_in else {}
    with transaction.atomic():
        locked = _lock(pack, to if action == "move" else None, must_be_open=action != "retry")
        job = Job(action, locked[0], author, tags, locked[-1], cuts)
        entries = {entry.pk: entry for entry in wanted.select_for_update(no_key=True).order_by("pk")}
        if comes_in:
            rows = [(entry.external_id, entry.content_hash) for entry in entries.values()]
            job.ledger = batch.ledger(job.target, *zip(*rows, strict=True)) if rows else job.ledger
        changed = [entry for result in results if (entry := _attempt(job, result, entries.get(result.id)))]
        if changed:
            _FINISH.get(action, _finish_edit)(job, changed)
        if comes_in:
            _check_room(job, changed)
    return results


def _check_room(job: Job, entries: Sequence[Entry]) -> None:
    """Of the owner of the pack that they come into. Within a person's packs a move changes nothing."""
    moved = job.pack.owner_id != job.target.owner_id
    if moved or job.action == "restore":
        size = sizes.of_entries([entry.pk for entry in entries]) if moved else 0
        quotas.require(job.target.owner_id, entries=len(entries), storage_bytes=size)


def _lock(pack: KnowledgePack, to: KnowledgePack | None, *, must_be_open: bool) -> list[KnowledgePack]:
    """The pack, and the one to move to: locked in the order of their ids, so that two moves cannot wait for each other."""
    ids = [pack.pk, *([to.pk] if to else [])]
    locked = {pack_id: locking.locked_pack(pack_id) for pack_id in sorted(ids)}
    for one in locked.values():
        locking.require_open(one) if must_be_open else locking.refuse_deleted(one)
    return [locked[pack_id] for pack_id in ids]


def _attempt(job: Job, result: BulkResult, entry: Entry | None) -> Entry | None:
    """Change the entry in memory; the entry when there is something to write."""
    try:
        if entry is None or (entry.deleted_at is not None and job.action != "restore"):
            raise NotFound("There is no such entry.")
        changed = _STEPS[job.action](job, entry)
    except QuorumError as error:
        result.error = error
        return None
    result.status = "updated" if changed else "unchanged"
    return entry if changed else None


# --- Steps: what the action means for one entry, and whether it changes anything --------------------------------------


def _tag(job: Job, entry: Entry) -> bool:
    tags = list(dict.fromkeys([*entry.tags, *job.tags]))
    if len(tags) > TAGS_MAX:
        raise InvalidInput(f"an entry may have at most {TAGS_MAX} tags", code="too_many_tags")
    return _set(entry, "tags", tags)


def _untag(job: Job, entry: Entry) -> bool:
    return _set(entry, "tags", [tag for tag in entry.tags if tag not in job.tags])


def _enable(job: Job, entry: Entry) -> bool:
    return _set(entry, "enabled", job.action == "enable")


def _set(entry: Entry, name: str, value: object) -> bool:
    changed: bool = getattr(entry, name) != value
    setattr(entry, name, value)
    return changed


def _review(job: Job, entry: Entry) -> bool:
    for name, value in review(True, job.author).items():
        setattr(entry, name, value)
    return True


def _delete(job: Job, entry: Entry) -> bool:
    return True


def _restore(job: Job, entry: Entry) -> bool:
    trash.check_trashed(entry)
    job.ledger.check_room(entry)
    entry.deleted_at = None
    return True


def _move(job: Job, entry: Entry) -> bool:
    job.ledger.check_room(entry)
    return True


def _retry(job: Job, entry: Entry) -> bool:
    check_retry(entry)
    return True


_STEPS: Final[Mapping[Action, Callable[[Job, Entry], bool]]] = {
    "tag": _tag, "untag": _untag, "enable": _enable, "disable": _enable, "review": _review,
    "delete": _delete, "restore": _restore, "move": _move, "retry": _retry,
}  # fmt: skip


# --- Finishes: what the changed entries have in common ----------------------------------------------------------------


def _finish_edit(job: Job, entries: Sequence[Entry]) -> None:
    for entry in entries:
        entry.version += 1
        entry.save()
    locking.after_words_changed(job.pack)
    _tell(job.pack, "entry.updated", entries)


def _finish_delete(job: Job, entries: Sequence[Entry]) -> None:
    trash.take_out(job.pack, entries)
    locking.after_words_changed(job.pack)
    log.append(job.pack, *(trash.deleted_event(job.pack, entry) for entry in entries))


def _finish_restore(job: Job, entries: Sequence[Entry]) -> None:
    trash.take_in(job.pack, entries, job.cuts)
    locking.after_words_changed(job.pack)
    _tell(job.pack, "entry.restored", entries)


def _finish_move(job: Job, entries: Sequence[Entry]) -> None:
    passages.discard(job.pack, entries)
    job.pack.entry_count -= len(entries)
    last = batch.last_ordinal(job.target)
    for place, entry in enumerate(entries, 1):
        entry.pack, entry.ordinal = job.target, last + place * batch.GAP
    trash.take_in(job.target, entries, job.cuts)
    for pack in (job.pack, job.target):
        locking.after_words_changed(pack)
    gone = [{"id": str(entry.pk), "pack": str(job.target.pk)} for entry in entries]
    log.append(job.pack, *(("entry.moved", {"entry": entry, "pack": pack_counts(job.pack)}) for entry in gone))
    _tell(job.target, "entry.moved", entries)


def _finish_retry(job: Job, entries: Sequence[Entry]) -> None:
    for entry in entries:
        batch.requeue(entry)
        entry.save()
    locking.request_indexing(job.pack)
    counts = pack_counts(job.pack)
    log.append(job.pack, *(("entry.queued", {"entry": entry_progress(entry), "pack": counts}) for entry in entries))


def _tell(pack: KnowledgePack, kind: str, entries: Sequence[Entry]) -> None:
    log.append(pack, *((kind, {"entry": entry_header(entry), "pack": pack_counts(pack)}) for entry in entries))


_FINISH: Final[Mapping[Action, Callable[[Job, Sequence[Entry]], None]]] = {
    "delete": _finish_delete, "restore": _finish_restore, "move": _finish_move, "retry": _finish_retry,
}  # fmt: skip
