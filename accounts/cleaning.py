"""What accounts leave behind: answers that nobody repeats any more, logins that have run out, news, audit entries and messages that are
old, exports that nobody fetched, and accounts that are to go."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from accounts import departures, exports, idempotency, streams
from accounts.audit import retention
from accounts.models import LoginSession, WebhookDelivery
from realtime import cleaning

IDEMPOTENCY = cleaning.rows(lambda: idempotency.expired(timezone.now()))
LOGINS = cleaning.rows(LoginSession.objects.over)
NEWS = cleaning.rows(lambda: streams.forgotten(timezone.now()))
AUDIT = retention.CLEANING
EXPORTS = exports.CLEANING
DEPARTURES = departures.CLEANING
WEBHOOKS = cleaning.rows(
    lambda: WebhookDelivery.objects.filter(created_at__lt=timezone.now() - timedelta(days=settings.WEBHOOK_DAYS))
)
