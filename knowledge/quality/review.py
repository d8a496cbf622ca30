"""Which entries a curator should look at first: those whose errors would do the most damage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, FloatField, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Extract, Now
from django.utils import timezone

from knowledge.models import Entry, KnowledgePack
from knowledge.shapes import entry_header
from realtime.times import rfc3339

_DAY_S = 86_400.0


def review_queue(packs: Iterable[KnowledgePack]) -> QuerySet[Any, Entry]:
    """Entries that want a review, most urgent first: those whose ``review_by`` has come, then by ``damage``, which is the number of
    times cited, times the days since the last review (since creation when there was none). Entries that nobody cited and that
    have no date are not in it."""
    return scored(Entry.objects.filter(pack__in=list(packs), deleted_at=None)).order_by(
        "-overdue", "-damage", "review_by", "id"
    )


def scored(entries: QuerySet[Entry]) -> QuerySet[Any, Entry]:
    """With ``cited``, ``retrieved``, ``age_days``, ``damage`` and ``overdue``, and without those that want no review."""
    since = Coalesce("reviewed_at", "created_at")
    today = timezone.now().date()
    return (
        entries.annotate(
            cited=Coalesce("use__cited", Value(0)),
            retrieved=Coalesce("use__retrieved", Value(0)),
            age_days=ExpressionWrapper(Extract(Now() - since, "epoch") / Value(_DAY_S), output_field=FloatField()),
            overdue=Coalesce(ExpressionWrapper(Q(review_by__lte=today), output_field=BooleanField()), Value(False)),
        )
        .annotate(damage=ExpressionWrapper(F("cited") * F("age_days"), output_field=FloatField()))
        .filter(Q(overdue=True) | Q(cited__gt=0))
    )


def queue_json(entry: Entry) -> dict[str, Any]:
    """An entry of ``review_queue``."""
    known = vars(entry)
    return {
        "entry": entry_header(entry),
        "cited": known["cited"],
        "retrieved": known["retrieved"],
        "days": round(known["age_days"], 1),
        "damage": round(known["damage"], 1),
        "overdue": known["overdue"],
        "reviewed_at": rfc3339(entry.reviewed_at) if entry.reviewed_at else None,
        "review_by": entry.review_by.isoformat() if entry.review_by else None,
    }
