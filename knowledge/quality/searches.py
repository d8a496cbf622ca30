"""What the search log tells curators: which words were looked for, which found nothing, which entries nobody was ever shown."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Avg, Count, Exists, F, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Lower, TruncDate
from django.utils import timezone

from knowledge.models import Entry, EntryUse, KnowledgePack, SearchLog
from realtime.times import rfc3339

SHOWN: Final = 20
NOTHING: Final = Q(hits=0)


def logged(pack: KnowledgePack, days: int) -> QuerySet[SearchLog]:
    return SearchLog.objects.filter(pack=pack, at__gte=timezone.now() - timedelta(days=days))


def queries(rows: QuerySet[SearchLog]) -> QuerySet[Any, dict[str, Any]]:
    """One row for each query, without regard to case: ``{text, times, nothing, best, took_ms, latest}``, latest first."""
    counted = rows.annotate(text=Lower("query")).values("text")
    found: QuerySet[Any, Any] = counted.annotate(
        times=Count("id"), nothing=Count("id", filter=NOTHING), top=Max("best"), took=Avg("took_ms"), latest=Max("at")
    )
    return found.order_by("-latest", "text")


def query_json(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "query": row["text"],
        "count": row["times"],
        "zero_results": row["nothing"],
        "best": row["top"],
        "took_ms": round(row["took"], 2),
        "last_at": rfc3339(row["latest"]),
    }


def summary(pack: KnowledgePack, days: int) -> dict[str, Any]:
    """Counts of the last ``days``, and the ends of the lists that a curator works from."""
    rows = logged(pack, days)
    total = rows.aggregate(searches=Count("id"), nothing=Count("id", filter=NOTHING), took=Avg("took_ms"))
    asked = queries(rows)
    unseen = never_retrieved(pack)
    return {
        "days": days,
        "searches": total["searches"],
        "zero_results": total["nothing"],
        "zero_result_rate": rate(total["nothing"], total["searches"]),
        "took_ms": None if total["took"] is None else round(total["took"], 2),
        "top_queries": [query_json(row) for row in asked.order_by("-times", "text")[:SHOWN]],
        "zero_result_queries": [
            query_json(row) for row in asked.filter(nothing__gt=0).order_by("-nothing", "text")[:SHOWN]
        ],
        "weakest_queries": [query_json(row) for row in asked.filter(top__isnull=False).order_by("top", "text")[:SHOWN]],
        "never_retrieved": unseen.count(),
        "never_retrieved_entries": [
            {"id": str(pk), "title": title} for pk, title in unseen.values_list("id", "title")[:SHOWN]
        ],
    }


def rate(part: int, whole: int) -> float | None:
    """None when there was nothing to be a part of."""
    return round(part / whole, 4) if whole else None


def never_retrieved(pack: KnowledgePack) -> QuerySet[Entry]:
    """Enabled entries that no logged search ever returned, oldest first."""
    found = EntryUse.objects.filter(entry=OuterRef("pk"), retrieved__gt=0)
    entries = Entry.objects.filter(~Exists(found), pack=pack, deleted_at=None, enabled=True)
    return entries.order_by("created_at", "id")


def per_day(rows: QuerySet[SearchLog]) -> list[dict[str, Any]]:
    """``{day, searches, nothing}`` of the days with searches, in order."""
    counted = rows.annotate(day=TruncDate("at")).values("day")
    counted = counted.annotate(searches=Count("id"), nothing=Count("id", filter=NOTHING))
    return [dict(row) for row in counted.order_by(F("day"))]


def outdated() -> QuerySet[SearchLog]:
    """Older than the log is kept."""
    return SearchLog.objects.filter(at__lt=timezone.now() - timedelta(days=settings.SEARCH_LOG_DAYS))
