"""Celery tasks of the knowledge app. Each takes ids, calls a service and may be lost or run twice without harm."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import UUID

import numpy as np
from celery import shared_task
from django.conf import settings
from django.utils import timezone

from knowledge import (
    ann,
    bulk_tasks,  # noqa: F401  # makes its task known to Celery
    indexing,
    reweighing,
    services,
    spaces,
)
from knowledge.imports import job as imports_job
from knowledge.imports.tasks import run_import  # noqa: F401  # Celery looks for tasks here
from knowledge.models import Entry
from knowledge.quality import jobs as evaluation_jobs
from knowledge.quality import tasks as quality_tasks  # noqa: F401  # makes its tasks known to Celery
from knowledge.services import bulk_jobs, purging
from realtime import nudge, stopping
from realtime.errors import NotFound
from realtime.stoppable import stoppable

SWEEP_S = 5.0  # a wake-up that nobody took before the next sweep is one too many
SLICE_S = 20.0  # then the pack goes to the end of the queue, so that one import does not hold up everybody


@shared_task(name="knowledge.tasks.index_pack")
@stoppable
def index_pack(pack_id: str) -> None:
    """Embed what the pack has waiting."""
    until = time.monotonic() + SLICE_S
    try:
        while indexing.index_once(UUID(pack_id)):
            if stopping.over(until):
                nudge.send_task("knowledge.tasks.index_pack", [pack_id], "index")
                return
    except NotFound:
        return  # purged meanwhile


@shared_task(name="knowledge.tasks.index_entry")
@stoppable
def index_entry(entry_id: str) -> None:
    """Embed one entry, if it is waiting."""
    pack_id = Entry.objects.filter(pk=entry_id).values_list("pack", flat=True).first()
    if pack_id is not None:
        indexing.index_once(pack_id, only=UUID(entry_id))


@shared_task(name="knowledge.tasks.reweigh_pack")
@stoppable
def reweigh_pack(pack_id: str) -> None:
    """New BM25 weights for a large pack whose average lengths have drifted."""
    try:
        if reweighing.work(UUID(pack_id), time.monotonic() + SLICE_S):
            nudge.send_task("knowledge.tasks.reweigh_pack", [pack_id], "index")
    except NotFound:
        return  # purged meanwhile


@shared_task(name="knowledge.tasks.fill_space")
@stoppable
def fill_space(pack_id: str) -> None:
    """Bring the pack's vectors on, on their way to another model."""
    try:
        if spaces.work(UUID(pack_id), time.monotonic() + SLICE_S):
            nudge.send_task("knowledge.tasks.fill_space", [pack_id], "index")
    except NotFound:
        return  # purged meanwhile


@shared_task(name="knowledge.tasks.drop_spaces")
@stoppable
def drop_spaces() -> None:
    """Remove the vectors that no search uses any more."""
    for space_id in list(spaces.droppable(timezone.now()).values_list("pk", flat=True)):
        stopping.check()  # the sweeper finds the others
        spaces.drop(space_id)


@shared_task(name="knowledge.tasks.sweep")
def sweep() -> None:
    """Wake a worker for every pack with work that nobody is at: lost nudges, dead workers, pauses that are over."""
    now = timezone.now()
    for pack_id in indexing.packs_with_work(now):
        nudge.send_task("knowledge.tasks.index_pack", [str(pack_id)], "index", expires_s=SWEEP_S)
    for pack_id in spaces.packs_with_work(now):
        nudge.send_task("knowledge.tasks.fill_space", [str(pack_id)], "index", expires_s=SWEEP_S)
    if spaces.droppable(now).exists():
        nudge.send_task("knowledge.tasks.drop_spaces", [], "index", expires_s=SWEEP_S)
    for pack_id in reweighing.packs_with_work():
        nudge.send_task("knowledge.tasks.reweigh_pack", [str(pack_id)], "index", expires_s=SWEEP_S)
    for job_id in evaluation_jobs.with_work():
        nudge.send_task("knowledge.tasks.run_evaluation", [str(job_id)], "index", expires_s=SWEEP_S)
    imports_job.nudge_lost()
    bulk_jobs.wake_lost()


@shared_task(name="knowledge.tasks.purge_trash")
@stoppable
def purge_trash() -> None:
    """Remove entries for good that have been in the trash for ``TRASH_DAYS``."""
    services.purge_trash(timezone.now() - timedelta(days=settings.TRASH_DAYS))


@shared_task(name="knowledge.tasks.sweep_trash")
def sweep_trash() -> None:
    """Have every pack purged whose time in the trash is up."""
    for pack_id in purging.due():
        nudge.send_task("knowledge.tasks.purge_pack", [str(pack_id)], "index")


@shared_task(name="knowledge.tasks.purge_pack")
@stoppable
def purge_pack(pack_id: str) -> None:
    """Purge a pack for a while; what is left goes to the end of the queue."""
    if purging.purge(UUID(pack_id), time.monotonic() + SLICE_S):
        nudge.send_task("knowledge.tasks.purge_pack", [pack_id], "index")


@shared_task(name="knowledge.tasks.build_ann")
@stoppable
def build_ann(space_id: int) -> None:
    """Build the HNSW index of a space that has grown large, or is about to be searched."""
    if ann.build(space_id):
        spaces.index_built(space_id)


@shared_task(name="knowledge.tasks.check_ann_recall")
def check_ann_recall(space_id: int, query: list[float]) -> None:
    """Compare one approximate search with exact search."""
    ann.check_recall(space_id, np.asarray(query, dtype=np.float32))


@shared_task(name="knowledge.tasks.sweep_ann")
def sweep_ann() -> None:
    """Start and drop indexes as spaces grow, shrink and go; find builds whose worker died."""
    ann.sweep()
