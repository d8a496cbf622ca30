"""The Celery task of imports; ``knowledge.tasks`` imports it, for that is where Celery looks."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from knowledge.imports import job
from knowledge.services.imports import TASK
from realtime.stoppable import stoppable


@shared_task(name=TASK)
@stoppable
def run_import(import_id: str) -> None:
    """Read or write what the import has waiting."""
    job.run(UUID(import_id))
