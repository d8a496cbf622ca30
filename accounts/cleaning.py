"""What accounts leave behind: answers that nobody repeats any more, logins that have run out, news and audit entries that are old,
exports that nobody fetched, and accounts that are to go."""

from __future__ import annotations

from django.utils import timezone

from accounts import departures, exports, idempotency, streams
from accounts.audit import retention
from accounts.models import LoginSession
from realtime import cleaning

IDEMPOTENCY = cleaning.rows(lambda: idempotency.expired(timezone.now()))
LOGINS = cleaning.rows(LoginSession.objects.over)
NEWS = cleaning.rows(lambda: streams.forgotten(timezone.now()))
AUDIT = retention.CLEANING
EXPORTS = exports.CLEANING
DEPARTURES = departures.CLEANING
