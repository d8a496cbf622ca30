"""What a person uses, read from the rows of calls and entries themselves: there is no second book."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.utils import timezone

from accounts import holdings
from accounts.models import User
from realtime.errors import InvalidInput

Json = dict[str, Any]
DAYS: Final = 30  # when nobody says
DAYS_MAX: Final = 366


def between(first: date | None, last: date | None) -> tuple[datetime, datetime]:
    """From the beginning of the first day to the end of the last (UTC), ``DAYS`` until today where nothing is said. ``InvalidInput``."""
    last = last or timezone.now().astimezone(UTC).date()
    first = first or last - timedelta(days=DAYS - 1)
    if not timedelta(0) <= last - first < timedelta(days=DAYS_MAX):
        raise InvalidInput(f"From the first day to the last, {DAYS_MAX} days at most.", code="bad_query")
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return begin, begin + timedelta(days=(last - first).days + 1)


def report(user: User, since: datetime, until: datetime) -> Json:
    """``{calls, days, models, storage}`` and whatever else the apps above say of the half-open time. A constant number of statements."""
    said: Json = {}
    for holding in reversed(holdings.every()):
        said |= holding.usage(user, since, until)
    return said
