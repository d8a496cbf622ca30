"""Query parameters of the list of entries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import F, Q, QuerySet
from django.db.models.functions import TruncDate
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from knowledge.api.ordering import ORDERINGS
from knowledge.api.params import BOOLEANS, bad, choice
from knowledge.models import Entry, IndexStatus, KnowledgePack, Language

_TIMES: Final = {
    f"{name}_{side}": f"{name}_at__{lookup}"
    for name in ("created", "updated")
    for side, lookup in (("after", "gt"), ("before", "lt"))
}

PARAMETERS: Final = [
    OpenApiParameter("status", enum=IndexStatus.values),
    OpenApiParameter("tag", many=True, description="Only entries that carry all of these"),
    OpenApiParameter("enabled", OpenApiTypes.BOOL),
    OpenApiParameter("source", description="How the source address begins"),
    OpenApiParameter("q", description="Part of the title"),
    OpenApiParameter("language", enum=Language.values, description="The entry's own, else its pack's"),
    OpenApiParameter("external_id"),
    *(OpenApiParameter(name, OpenApiTypes.DATETIME) for name in _TIMES),
    OpenApiParameter(
        "needs_review", OpenApiTypes.BOOL, description="Its review_by has come, and nobody has looked since"
    ),
    OpenApiParameter("trash", OpenApiTypes.BOOL, default=False, description="Entries in the trash (editors)"),
    OpenApiParameter("ordering", enum=ORDERINGS, default="-created_at"),
]


def filtered(request: Request, pack: KnowledgePack, entries: QuerySet[Entry]) -> QuerySet[Entry]:
    """The entries that pass all filters of the query string. Raises ``InvalidInput`` for a value that cannot be meant."""
    if status := choice(request, "status", IndexStatus.values):
        entries = entries.filter(index_status=status)
    if tags := request.query_params.getlist("tag"):
        entries = entries.filter(tags__contains=tags)
    if (enabled := _boolean(request, "enabled")) is not None:
        entries = entries.filter(enabled=enabled)
    if language := choice(request, "language", Language.values):
        entries = entries.filter(Q(language=language) | (Q(language="") if pack.language == language else Q()))
    if (due := _boolean(request, "needs_review")) is not None:
        entries = entries.filter(pk__in=_due(pack)) if due else entries.exclude(pk__in=_due(pack))
    for name, lookup in _FREE.items():
        if (value := request.query_params.get(name)) is not None:
            entries = entries.filter(**{lookup: value})
    for name, lookup in _TIMES.items():
        if (value := request.query_params.get(name)) is not None:
            entries = entries.filter(**{lookup: _moment(name, value)})
    return entries


_FREE: Final = {"q": "title__icontains", "source": "source_url__startswith", "external_id": "external_id"}


def _due(pack: KnowledgePack) -> QuerySet[Any, Any]:
    today = timezone.now().astimezone(UTC).date()
    reviewed = TruncDate("reviewed_at", tzinfo=UTC)
    seen_since = Q(reviewed_at__isnull=False, reviewed_on__gte=F("review_by"))
    entries = Entry.objects.filter(pack=pack, review_by__lte=today).annotate(reviewed_on=reviewed)
    return entries.exclude(seen_since).values("pk")


def _boolean(request: Request, name: str) -> bool | None:
    asked = choice(request, name, list(BOOLEANS))
    return None if asked is None else BOOLEANS[asked]


def _moment(name: str, text: str) -> datetime:
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise bad(name, f"{name} is a time with its zone, such as 2027-01-31T12:00:00Z.")
    return moment
