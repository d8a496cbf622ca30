"""Celery tasks of the accounts app. They may be lost or run twice without harm."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from accounts import streams


@shared_task(name="accounts.tasks.trim_streams")
def trim_streams() -> None:
    """Forget old events of people's own streams."""
    streams.trim(timezone.now())
