"""The life of an import in a worker: claim, read, plan, write.

As in ``knowledge.indexing``, a claim sets a lease and bumps ``lease_token``; only its holder may go on (fencing). A worker that dies
leaves an import whose lease runs out: reading begins anew, for it has changed nothing; writing goes on after the last batch, for each
batch is one transaction with the fate of its items. Files are parsed in a child process and outside of transactions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from accounts.errors import QuotaExceeded
from knowledge import services
from knowledge.batch import ItemResult, OnDuplicate
from knowledge.imports import fetching, files
from knowledge.imports.limits import Job, Limits
from knowledge.imports.planning import Seen, entry_fields, plan
from knowledge.imports.sandbox import read_files
from knowledge.models import Entry, Import, ImportItem, Language
from knowledge.services import imports as service
from knowledge.services.locking import require_open
from knowledge.states import ImportStatus, ItemStatus
from realtime import nudge, stopping
from realtime.errors import IllegalState, NotFound
from realtime.failpoints import failpoint

log = logging.getLogger(__name__)

LEASE: Final = timedelta(seconds=60)  # renewed every second or so while files are read, and by every batch
RENEW_S: Final = 0.5
MAX_ATTEMPTS: Final = 5
SLICE_S: Final = 20.0  # then the import goes to the end of the queue, so that it does not hold up everybody
BATCH: Final = 100
BATCH_CHARS: Final = 1_000_000  # entries of a batch are cut into passages while a transaction is open
EVENT_S: Final = 0.5
SOURCE_MAX: Final = 1000

_AT_WORK = Q(status__in=[ImportStatus.QUEUED, ImportStatus.READING, ImportStatus.WRITING])


class Fenced(Exception):
    """The import is no longer ours: it was cancelled, or another worker has taken it over."""


@dataclass(slots=True)
class Work:
    """An import that this worker holds while its lease lasts."""

    job: Import
    token: int
    renewed: float = field(default_factory=time.monotonic)
    told: float = 0.0

    def alive(self) -> None:
        """Renew the lease now and then. Raises ``Fenced``, or ``Stopping`` when the worker is to end."""
        stopping.check()
        if time.monotonic() - self.renewed < RENEW_S:
            return
        self.renewed = time.monotonic()
        mine = Import.objects.filter(pk=self.job.pk, lease_token=self.token)
        if not mine.update(lease_expires_at=timezone.now() + LEASE):
            raise Fenced

    def may_tell(self) -> bool:
        """At most a few progress events a second."""
        due = time.monotonic() - self.told > EVENT_S
        if due:
            self.told = time.monotonic()
        return due


def with_work(now: datetime) -> list[UUID]:
    """Imports that wait for a worker or whose worker let its lease run out."""
    free = Q(lease_expires_at=None) | Q(lease_expires_at__lt=now)
    return list(Import.objects.filter(_AT_WORK & free).values_list("pk", flat=True))


def run(import_id: UUID) -> None:
    """Take the import as far as it goes: to its plan, to its end, or to the end of this worker's slice of time."""
    try:
        work = claim(import_id)
        if work is None:
            return
        failpoint("knowledge.import.claimed")
        with stopping.held(partial(give_back, work)):
            if work.job.status == ImportStatus.READING:
                _read(work)
            if work.job.status == ImportStatus.WRITING:
                _write(work)
    except Fenced:
        log.info("import %s is no longer ours", import_id)
    except NotFound:
        log.info("import %s is gone", import_id)


@transaction.atomic
def claim(import_id: UUID) -> Work | None:
    """Lease the import, or None when there is nothing to do or somebody is at it. After five lost workers it fails instead."""
    pack, job = service.locked_import(import_id)
    now = timezone.now()
    busy = job.lease_expires_at is not None and job.lease_expires_at >= now
    if busy or job.status not in (ImportStatus.QUEUED, ImportStatus.READING, ImportStatus.WRITING):
        return None
    try:
        require_open(pack)
    except IllegalState as error:
        service.conclude(pack, job, ImportStatus.FAILED, error.detail)
        return None
    if job.attempt >= MAX_ATTEMPTS:
        service.conclude(pack, job, ImportStatus.FAILED, "The worker died each time it worked on this import.")
        return None
    if job.status != ImportStatus.WRITING:
        job.status = ImportStatus.READING
        job.items.all().delete()
    job.attempt += 1
    job.lease_token += 1
    job.lease_expires_at = now + LEASE
    job.save(update_fields=["status", "attempt", "lease_token", "lease_expires_at"])
    return Work(job, job.lease_token)


# --- Reading --------------------------------------------------------------------------------------------------------------


def _read(work: Work) -> None:
    seen, number, limits = Seen(), 0, files.limits()
    with files.workspace() as folder:
        said = _said(work, folder, limits)
        while batch := list(islice(said, BATCH)):
            items = _items(work.job, batch, seen, number)
            number += len(items)
            if number > limits.items:
                _fail(work, f"More than {limits.items} entries were found; split the import.")
                return
            _store(work, items)
    _conclude_reading(work)


def _said(work: Work, folder: Path, limits: Limits) -> Iterator[tuple[Job, dict[str, Any]]]:
    job, jobs = work.job, []
    if job.path:
        jobs.append(Job(str(files.path_of(job.path)), job.filename or "upload", job.media_type))
    for number, url in enumerate(job.urls):
        work.alive()
        fetched = fetching.fetch(url, folder / f"url-{number:04}", limits)
        if isinstance(fetched, str):
            yield Job("", url), {"failed": fetched, "source": url}
        else:
            jobs.append(fetched)
    yield from read_files(jobs, folder, limits, work.alive)


def _items(job: Import, batch: list[tuple[Job, dict[str, Any]]], seen: Seen, start: int) -> list[ImportItem]:
    items = []
    for number, (_, said) in enumerate(batch, start + 1):
        draft = _draft(job, said) if "item" in said else {}
        source = str(said.get("source", ""))[:SOURCE_MAX]
        items.append(ImportItem(job=job, ordinal=number, source=_storable(source), draft=draft))
        if "failed" in said:
            items[-1].status, items[-1].error = ItemStatus.FAILED, _storable(str(said["failed"]))
    planned = [item for item in items if item.status == ItemStatus.PLANNED]
    for item, found in zip(planned, plan(job, [item.draft for item in planned], seen), strict=True):
        item.planned, item.diff, item.error = found.action, found.diff, _storable(found.reason)
        if not found.action:
            item.status, item.draft = ItemStatus.FAILED, {}
    return items


def _draft(job: Import, said: dict[str, Any]) -> dict[str, Any]:
    """The draft with what the options add to it."""
    draft, options = dict(said["item"]), job.options
    tags = [*options.get("tags", []), *(_folders(said["source"]) if options.get("folder_tags") else [])]
    if tags and isinstance(draft.get("tags", []), list):
        draft["tags"] = list(dict.fromkeys([*draft.get("tags", []), *tags]))
    if options.get("source_url"):
        draft.setdefault("source_url", options["source_url"])
    if options.get("path_ids") and "part" in said and not draft.get("external_id"):
        part = f"#{said['part']}" if said["part"] > 1 else ""
        draft["external_id"] = said["source"][-190:] + part
    return draft


def _folders(source: str) -> list[str]:
    return [
        part.strip()[:50]
        for part in PurePosixPath(source).parent.parts
        if part.strip() and not part.startswith(("http", "/"))
    ]


def _storable(text: str) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


@transaction.atomic
def _store(work: Work, items: list[ImportItem]) -> None:
    pack, job = _ours(work)
    ImportItem.objects.bulk_create(items)
    if work.may_tell():
        service.record(pack, job, "import.progress")


@transaction.atomic
def _conclude_reading(work: Work) -> None:
    """On to the plan or to writing. What had nothing good in it fails, with the first reason."""
    pack, job = _ours(work)
    if not job.items.exclude(status=ItemStatus.FAILED).exists():
        first = job.items.order_by("ordinal").values_list("error", flat=True).first()
        service.conclude(pack, job, ImportStatus.FAILED, first or "The import holds no entries.")
    else:
        stored, job.path, job.attempt = job.path, "", 0
        job.status = ImportStatus.PLANNED if job.dry_run else ImportStatus.WRITING
        job.lease_expires_at = None if job.dry_run else timezone.now() + LEASE
        job.save(update_fields=["status", "path", "attempt", "lease_expires_at"])
        service.record(pack, job, "import.planned")
        transaction.on_commit(lambda: files.remove(stored), robust=True)
    work.job = job


@transaction.atomic
def _fail(work: Work, reason: str) -> None:
    pack, job = _ours(work)
    service.conclude(pack, job, ImportStatus.FAILED, reason)
    work.job = job


def _ours(work: Work) -> tuple[Any, Import]:
    """The pack and the import, locked. Raises ``Fenced`` when it is not ours any more."""
    pack, job = service.locked_import(work.job.pk)
    if job.lease_token != work.token:
        raise Fenced
    return pack, job


# --- Writing --------------------------------------------------------------------------------------------------------------


def _write(work: Work) -> None:
    until = time.monotonic() + SLICE_S
    try:
        while items := _next_batch(work.job):
            _write_batch(work, items)
            failpoint("knowledge.import.committed")
            if stopping.over(until):
                _hand_over(work)
                return
    except (
        IllegalState,
        QuotaExceeded,
    ) as error:  # archived or deleted meanwhile; or its owner's plan has no room for more
        _fail(work, error.detail)
        return
    with transaction.atomic():
        pack, job = _ours(work)
        service.conclude(pack, job, ImportStatus.COMPLETED)
    work.job = job


def _next_batch(job: Import) -> list[ImportItem]:
    chosen: list[ImportItem] = []
    room = BATCH_CHARS
    for item in job.items.filter(status=ItemStatus.PLANNED).order_by("ordinal")[:BATCH]:
        if chosen and room <= 0:
            break
        chosen.append(item)
        room -= len(str(item.draft.get("content", "")))
    return chosen


@transaction.atomic
def _write_batch(work: Work, items: list[ImportItem]) -> None:
    """Entries, the fate of their items and the event, committed together: a crash repeats nothing and loses nothing."""
    job = work.job
    note = f"import of {job.filename or 'web pages'}"[:300]
    drafts = [entry_fields(item.draft) for item in items]
    results = services.add_entries(
        job.pack, job.created_by, drafts, note, on_duplicate=cast("OnDuplicate", job.on_duplicate)
    )
    pack, job = _ours(work)
    for item, result in zip(items, results, strict=True):
        _settle(item, result)
    ImportItem.objects.bulk_update(items, ["status", "error", "entry", "draft"])
    failpoint("knowledge.import.written")
    job.attempt, job.lease_expires_at = 0, timezone.now() + LEASE
    job.save(update_fields=["attempt", "lease_expires_at"])
    if work.may_tell():
        service.record(pack, job, "import.progress")


def _settle(item: ImportItem, result: ItemResult) -> None:
    # A twin that was skipped is in the pack already; items that are skipped are those that a cancel left out.
    item.status = ItemStatus.UNCHANGED if result.status == "skipped" else ItemStatus(result.status)
    item.error = "; ".join(error["detail"] for error in result.errors)
    item.entry = result.entry
    if result.entry and result.status in ("created", "updated"):
        _afterwards(result.entry, item.draft)
    item.draft = {"title": item.draft.get("title")}


def _afterwards(entry: Entry, draft: dict[str, Any]) -> None:
    """What an export knows of an entry beyond its draft."""
    if draft.get("enabled") is False:
        services.set_entry_enabled(entry.pk, enabled=False)
    if (language := draft.get("language")) in Language.values and language != entry.language:
        services.revise_entry(entry.pk, None, {"language": language})
    reviewed, due = parse_datetime(str(draft.get("reviewed_at"))), parse_date(str(draft.get("review_by")))
    if reviewed or due:
        Entry.objects.filter(pk=entry.pk).update(reviewed_at=reviewed, review_by=due)


@transaction.atomic
def _hand_over(work: Work) -> None:
    _, job = _ours(work)
    job.lease_expires_at = None
    job.save(update_fields=["lease_expires_at"])
    service.request_run(job)
    work.job = job


@transaction.atomic
def give_back(work: Work) -> None:
    """The worker is to end: another one goes on at once, from the last batch that was written or, while it was read, from the start.
    The attempt does not count, for nothing failed. Whoever still works on it is fenced off."""
    _, job = service.locked_import(work.job.pk)
    if job.lease_token != work.token or job.lease_expires_at is None:
        return
    job.lease_token += 1
    job.lease_expires_at = None
    job.attempt = max(job.attempt - 1, 0)
    job.save(update_fields=["attempt", "lease_token", "lease_expires_at"])
    service.request_run(job)


def nudge_lost() -> None:
    """For the sweeper: wake a worker for every import that has none."""
    for import_id in with_work(timezone.now()):
        nudge.send_task(service.TASK, [str(import_id)], "index")
