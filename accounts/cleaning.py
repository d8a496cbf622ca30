"""What accounts leave behind: answers that nobody repeats any more, and logins that have run out."""

from __future__ import annotations

from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts import idempotency
from realtime import cleaning

IDEMPOTENCY = cleaning.rows(lambda: idempotency.expired(timezone.now()))
LOGINS = cleaning.rows(lambda: Session.objects.filter(expire_date__lt=timezone.now()))
