"""Tasks of the quality loop; ``knowledge.tasks`` makes them known to Celery."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from knowledge.quality import jobs, searches
from realtime.stoppable import stoppable


@shared_task(name="knowledge.tasks.run_evaluation")
@stoppable
def run_evaluation(job_id: str) -> None:
    """Ask a pack's golden questions. When this message is lost the sweeper finds the job."""
    jobs.run(UUID(job_id))


@shared_task(name="knowledge.tasks.sweep_searches")
def sweep_searches() -> None:
    """Forget searches that are older than the log is kept."""
    searches.purge()
