"""Changes of imports that people make. What a worker does to them stands in ``knowledge.imports.job``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.models import User
from knowledge import news
from knowledge.imports import files
from knowledge.models import Import, ImportItem, KnowledgePack
from knowledge.services import locking
from knowledge.shapes import import_header
from knowledge.states import IMPORT_TRANSITIONS, ImportStatus, ItemStatus
from realtime import log, nudge
from realtime.addresses import Blocked
from realtime.errors import Forbidden, IllegalState, NotFound
from realtime.outbound import Fetcher

TASK = "knowledge.tasks.run_import"
URLS_MAX = 50  # addresses of one import
FINAL = tuple(status for status, following in IMPORT_TRANSITIONS.items() if not following)


@transaction.atomic
def create_import(
    pack: KnowledgePack,
    author: User | None,
    *,
    path: str = "",
    filename: str = "",
    media_type: str = "",
    size: int = 0,
    urls: Sequence[str] = (),
    on_duplicate: str = "skip",
    dry_run: bool = False,
    options: dict[str, Any] | None = None,
) -> Import:
    """A queued import of one stored file (``path``, see ``imports.files``) or of addresses. Raises ``IllegalState`` when the pack is
    closed."""
    locked = locking.locked_pack(pack.pk)
    locking.require_open(locked)
    job = Import.objects.create(
        pack=locked,
        created_by=author,
        path=path,
        filename=filename[:255],
        media_type=media_type[:100],
        size=size,
        urls=list(urls),
        on_duplicate=on_duplicate,
        dry_run=dry_run,
        options=options or {},
    )
    record(locked, job, "import.created")
    audit.record("import.started", job, pack=locked.pk, dry_run=dry_run, addresses=len(urls))
    request_run(job)
    return job


@transaction.atomic
def commit_import(import_id: UUID) -> Import:
    """Let the plan of a dry run become entries. Raises ``IllegalState`` unless it waits for that."""
    pack, job = locked_import(import_id)
    locking.require_open(pack)
    _check(job, ImportStatus.WRITING, only_from=ImportStatus.PLANNED)
    job.status, job.attempt = ImportStatus.WRITING, 0
    job.save(update_fields=["status", "attempt"])
    record(pack, job, "import.progress")
    audit.record("import.committed", job, pack=pack.pk)
    request_run(job)
    return job


@transaction.atomic
def cancel_import(import_id: UUID) -> Import:
    """Stop an import. What has been written stays; its worker finds out within a second, or at its next batch."""
    pack, job = locked_import(import_id)
    _check(job, ImportStatus.CANCELLED)
    conclude(pack, job, ImportStatus.CANCELLED)
    audit.record("import.cancelled", job, pack=pack.pk)
    return job


def check_urls(urls: Sequence[str]) -> None:
    """Refuse now what can be refused without asking anybody (``Forbidden``, ``Blocked`` with a pointer); names are resolved by the
    worker."""
    if urls and not settings.IMPORT_URL_ALLOWLIST:
        raise Forbidden("This server does not fetch pages (IMPORT_URL_ALLOWLIST is empty).", code="fetching_off")
    guard = Fetcher(settings.IMPORT_URL_ALLOWLIST)
    for number, url in enumerate(urls):
        try:
            guard.checked(url)
        except Blocked as error:
            raise Blocked(error.detail, errors=[{"pointer": f"/urls/{number}", "detail": error.detail}]) from error


def locked_import(import_id: UUID) -> tuple[KnowledgePack, Import]:
    """The pack, then the import, both locked."""
    pack_id = Import.objects.filter(pk=import_id).values_list("pack", flat=True).first()
    if pack_id is None:
        raise NotFound("There is no such import.")
    pack = locking.locked_pack(pack_id)
    job = Import.objects.select_for_update(no_key=True).filter(pk=import_id).first()
    if job is None:
        raise NotFound("There is no such import.")
    return pack, job


def conclude(pack: KnowledgePack, job: Import, status: ImportStatus, error: str = "") -> None:
    """Into a final state; whoever works on it is fenced off. Items that were not reached are skipped, the upload is forgotten."""
    stored, job.path = job.path, ""
    job.status, job.error, job.finished_at = status, error, timezone.now()
    job.lease_token += 1
    job.lease_expires_at = None
    job.save()
    ImportItem.objects.filter(job=job, status=ItemStatus.PLANNED).update(status=ItemStatus.SKIPPED, draft={})
    record(pack, job, f"import.{status.value}")
    transaction.on_commit(lambda: files.remove(stored), robust=True)
    news.import_finished(pack, job)


def record(pack: KnowledgePack, job: Import, kind: str) -> None:
    log.append(pack, (kind, {"import": import_header(job)}))


def request_run(job: Import) -> None:
    nudge.send_task_on_commit(TASK, [str(job.pk)], "index")


def _check(job: Import, new: ImportStatus, only_from: ImportStatus | None = None) -> None:
    allowed = job.status == only_from if only_from else new in IMPORT_TRANSITIONS[ImportStatus(job.status)]
    if not allowed:
        raise IllegalState(f"an import that is {job.status} cannot become {new.value}", code="illegal_transition")
