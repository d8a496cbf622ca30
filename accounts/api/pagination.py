"""Keyset pagination, newest first or (``?order=created_at``) oldest first.

DRF's own cursor keeps one field and an offset into its ties, which drifts when tied rows come or go; this one compares the
whole key ``(created_at, id)``, so a page never skips or repeats a row, and deep pages cost what the first one costs.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan, TupleLessThan
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from accounts.api.pointers import pointer
from realtime.errors import FieldError, InvalidInput

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
_M = TypeVar("_M", bound=Model)


class Cursor(NamedTuple):
    """A place between two rows: everything strictly older (or, going back, newer) than this row."""

    back: bool
    created_at: datetime
    id: UUID

    def encode(self) -> str:
        text = json.dumps([int(self.back), self.created_at.isoformat(), str(self.id)], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            back, created_at, id_ = json.loads(raw)
            cursor = cls(back == 1, datetime.fromisoformat(created_at), UUID(id_))
        except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError) as error:
            raise _not_ours() from error
        if cursor.encode() != text:  # anything but the very text this list wrote: another type, zone or spelling
            raise _not_ours()
        return cursor


class CursorPagination(BasePagination):
    """``?limit=`` 1 to 200, ``?cursor=`` from ``next`` or ``previous`` and ``?order=``; anything else is ``InvalidInput``.

    For models with ``created_at`` and a UUID ``id``; the queryset's own ordering is replaced. A cursor goes on in the order of the
    request that it comes with; the links keep theirs.
    """

    orders: ClassVar[Sequence[str]] = ("-created_at", "created_at")
    parameters: ClassVar[frozenset[str]] = frozenset({"limit", "cursor", "order"})

    def paginate_queryset(  # type: ignore[override]  # only querysets: a list has no keyset
        self,
        queryset: QuerySet[_M],
        request: Request,
        view: Any = None,
    ) -> list[_M]:
        self.url = request.build_absolute_uri()
        self.limit = _limit(request)
        self.ascending = self.order(request) == "created_at"
        text = request.query_params.get("cursor")
        self.cursor = None if text is None else Cursor.decode(text)
        rows = list(self._window(queryset))
        self.more = len(rows) > self.limit
        rows = rows[: self.limit]
        if self.cursor and self.cursor.back:
            rows.reverse()
        self.rows: list[Any] = rows
        return rows

    def _window(self, queryset: QuerySet[_M]) -> QuerySet[_M]:
        """One row more than the limit, which tells whether there is a further page in this direction."""
        ascending = self.ascending
        if self.cursor is not None:
            ascending ^= self.cursor.back
            beyond = TupleGreaterThan if ascending else TupleLessThan
            queryset = queryset.filter(beyond(Tuple("created_at", "id"), (self.cursor.created_at, self.cursor.id)))
        sign = "" if ascending else "-"
        return queryset.order_by(f"{sign}created_at", f"{sign}id")[: self.limit + 1]

    def order(self, request: Request) -> str:
        """What the caller asks for, else the first of ``orders``."""
        text = request.query_params.get("order", self.orders[0])
        if text not in self.orders:
            detail = f"order is one of {', '.join(self.orders)}."
            raise InvalidInput(detail, code="bad_order", errors=[{"pointer": "/order", "detail": detail}])
        return text

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self.next_url(), "previous": self.previous_url(), "results": data})

    def next_url(self) -> str | None:
        back = self.cursor is not None and self.cursor.back
        if not self.rows:
            # Going back from a row that was the first one: forward from the start is what follows.
            return remove_query_param(self.url, "cursor") if back else None
        return self._link(self.rows[-1], back=False) if back or self.more else None

    def previous_url(self) -> str | None:
        if self.cursor is None or not self.rows:
            return None
        return self._link(self.rows[0], back=True) if not self.cursor.back or self.more else None

    def _link(self, row: Any, *, back: bool) -> str:
        return replace_query_param(self.url, "cursor", Cursor(back, row.created_at, row.id).encode())

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        url = {"type": ["string", "null"], "format": "uri"}
        properties = {"next": url, "previous": url, "results": schema}
        return {"type": "object", "required": list(properties), "properties": properties}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
        described = [
            {"name": "limit", "in": "query", "required": False, "schema": limit},
            {"name": "cursor", "in": "query", "required": False, "schema": {"type": "string"}},
        ]
        if self.orders:
            order = {"type": "string", "enum": list(self.orders), "default": self.orders[0]}
            described.append({"name": "order", "in": "query", "required": False, "schema": order})
        return described


def refuse_unknown(request: Request, known: Collection[str]) -> None:
    """A parameter that a list does not have is a typing error, and its answer would be taken for the filtered list."""
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        errors: list[FieldError] = [
            {"pointer": pointer("", name), "detail": "Unknown parameter."} for name in unknown[:20]
        ]
        raise InvalidInput("The list has no such parameter.", code="unknown_parameter", errors=errors)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit()) or len(text) > 4 or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidInput(f"limit is a whole number from 1 to {MAX_LIMIT}.", code="bad_limit")
    return int(text)


def _not_ours() -> InvalidInput:
    return InvalidInput("The cursor is not one that this list gave out.", code="bad_cursor")
