"""Tasks of accounts."""

from __future__ import annotations

from celery import shared_task

from accounts.audit import sealing


@shared_task
def seal_audit() -> None:
    """Seal what has been recorded. Lost or run twice, it does no harm."""
    sealing.seal_all()
