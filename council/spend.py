"""What models were asked and what it cost, by day and model: read from the calls themselves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncDate

from accounts.models import User
from council.models import LlmCall


class Spend(NamedTuple):
    """Of one model (a profile's slug, or a model of the default endpoint) on one day (UTC)."""

    day: date
    model: str
    calls: int
    failed: int
    tokens: int
    usd: Decimal
    seconds: Decimal


def by_day_and_model(days: int, *, owner: UUID | None = None) -> list[Spend]:
    """Of the last ``days`` days, today included; the newest day first, its dearest model first. Running calls count as calls."""
    since = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)
    calls = LlmCall.objects.filter(started_at__gte=since)
    if owner is not None:
        calls = calls.filter(session__owner=owner)
    rows = (
        calls.annotate(day=TruncDate("started_at", tzinfo=UTC))
        .values("day", "profile", "model")
        .annotate(
            calls=Count("pk"),
            failed=Count("pk", filter=~Q(status__in=[LlmCall.Status.OK, LlmCall.Status.RUNNING])),
            tokens=Sum(F("prompt_tokens") + F("completion_tokens")),
            cost=Sum("usd"),
            time=Sum("seconds"),
        )
        .order_by("-day", "-cost", "-tokens", "profile", "model")
    )
    return [
        Spend(
            row["day"],
            f"{row['profile']} ({row['model']})" if row["profile"] else row["model"],
            row["calls"],
            row["failed"],
            row["tokens"],
            row["cost"],
            row["time"],
        )
        for row in rows
    ]


class Day(NamedTuple):
    day: date
    tokens: int
    usd: Decimal


def by_day(rows: Iterable[Spend], days: int) -> list[Day]:
    """The same summed over models, oldest day first, days without a call included."""
    today = datetime.now(UTC).date()
    dates = [today - timedelta(days=back) for back in reversed(range(days))]
    spent = list(rows)
    return [
        Day(
            day,
            sum(row.tokens for row in spent if row.day == day),
            sum((row.usd for row in spent if row.day == day), Decimal(0)),
        )
        for day in dates
    ]


def used_today(user: User) -> dict[str, Any]:
    """What the user's councils have used and reserved today, in the fields of a daily budget."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return {**_settled(user, today), **_reserved(user)}


def _settled(user: User, since: datetime) -> dict[str, Any]:
    done = LlmCall.objects.filter(session__owner=user, finished_at__gte=since)
    return _sums(
        done,
        tokens_used=F("prompt_tokens") + F("completion_tokens"),
        usd_used=F("usd"),
        seconds_used=F("seconds"),
    ) | {"calls": done.count()}


def _reserved(user: User) -> dict[str, Any]:
    running = LlmCall.objects.filter(session__owner=user, status=LlmCall.Status.RUNNING)
    return _sums(
        running,
        tokens_reserved=F("tokens_reserved"),
        usd_reserved=F("usd_reserved"),
        seconds_reserved=F("seconds_reserved"),
    ) | {"calls_reserved": running.count()}


def _sums(calls: QuerySet[LlmCall], **columns: Any) -> dict[str, Any]:
    sums = {
        f"sum_{name}": Coalesce(Sum(column), 0, output_field=LlmCall._meta.get_field("usd"))
        for name, column in columns.items()
    }
    found = calls.aggregate(**sums)
    return {name: found[f"sum_{name}"] for name in columns}
