"""Tasks of accounts."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from accounts import exports
from accounts.audit import sealing
from accounts.webhooks import task as webhooks
from accounts.webhooks.endpoints import TASK
from realtime.stoppable import stoppable


@shared_task
def seal_audit() -> None:
    """Seal what has been recorded. Lost or run twice, it does no harm."""
    sealing.seal_all()


@shared_task(name=exports.TASK)
@stoppable
def export_account(export_id: str) -> None:
    """Make the file of an export, unless somebody is at it."""
    exports.run(UUID(export_id))


@shared_task
def sweep() -> None:
    """Wake a worker for every export that nobody is at: lost nudges, dead workers."""
    exports.nudge_lost()


@shared_task(name=TASK)
@stoppable
def send_webhooks() -> None:
    """Tell the endpoints that are behind. Lost or run twice, it does no harm."""
    webhooks.run()
