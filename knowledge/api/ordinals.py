"""Pages of rows that have a number of their own, in its order."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from accounts.api.pagination import CursorPagination, _limit, _not_ours

_M = TypeVar("_M", bound=Model)


class OrdinalPagination(CursorPagination):
    """``?cursor=`` is ``after-N`` or ``before-N``; for models with an ``ordinal``."""

    orders = ()
    parameters = CursorPagination.parameters - {"order"}

    def paginate_queryset(self, queryset: QuerySet[_M], request: Request, view: Any = None) -> list[_M]:  # type: ignore[override]
        self.url = request.build_absolute_uri()
        self.limit = _limit(request)
        direction, number = _parsed(request.query_params.get("cursor"))
        self.backwards, self.started = direction == "before", direction is None
        if self.backwards:
            found = queryset.filter(ordinal__lt=number).order_by("-ordinal")
        else:
            found = queryset.filter(ordinal__gt=number).order_by("ordinal")
        rows = list(found[: self.limit + 1])
        self.more = len(rows) > self.limit
        self.rows = rows[: self.limit][:: -1 if self.backwards else 1]
        return self.rows

    def next_url(self) -> str | None:
        if not self.rows or not (self.backwards or self.more):
            return None
        return replace_query_param(self.url, "cursor", f"after-{self.rows[-1].ordinal}")

    def previous_url(self) -> str | None:
        if not self.rows or self.started or (self.backwards and not self.more):
            return None
        return replace_query_param(self.url, "cursor", f"before-{self.rows[0].ordinal}")


def _parsed(text: str | None) -> tuple[str | None, int]:
    if text is None:
        return None, 0
    direction, _, number = text.partition("-")
    if direction not in ("after", "before") or not (number.isascii() and number.isdigit()) or len(number) > 9:
        raise _not_ours()
    return direction, int(number)
