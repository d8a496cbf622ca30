"""The task of bulk actions."""

from __future__ import annotations

import time
from typing import Final
from uuid import UUID

from celery import shared_task

from knowledge.services import bulk_jobs
from realtime import nudge
from realtime.errors import NotFound
from realtime.stoppable import stoppable

SLICE_S: Final = 20.0  # then it goes to the end of the queue, so that it does not hold up everybody


@shared_task(name=bulk_jobs.TASK)
@stoppable
def run_bulk_job(job: str) -> None:
    """Bring a bulk action on, unless nothing is known of it (any more)."""
    try:
        left = bulk_jobs.work(UUID(job), time.monotonic() + SLICE_S)
    except NotFound:
        return
    if left:
        nudge.send_task(bulk_jobs.TASK, [job], "index")
