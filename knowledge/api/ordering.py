"""Keyset pagination of entries in an order of the caller's choice. Without one it is that of every other list."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan, TupleLessThan
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from accounts.api.pagination import CursorPagination, _limit
from knowledge.api.params import choice
from realtime.errors import InvalidInput

FIELDS: Final = ("ordinal", "created_at", "updated_at", "title")
DEFAULT: Final = "-created_at"
ORDERINGS: Final = [f"{sign}{field}" for field in FIELDS for sign in ("", "-")]
_M = TypeVar("_M", bound=Model)


class Place(NamedTuple):
    """Between two rows: everything after (or, going back, before) this one in the named order."""

    back: bool
    ordering: str
    value: Any
    id: UUID

    def encode(self) -> str:
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        text = json.dumps([int(self.back), self.ordering, value, str(self.id)], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, ordering: str) -> Place:
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            back, named, value, id_ = json.loads(raw)
            place = cls(back == 1, named, _value(named, value), UUID(id_))
        except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError) as error:
            raise _not_ours() from error
        if place.encode() != text or named != ordering:
            raise _not_ours()
        return place


def _value(ordering: str, value: Any) -> Any:
    """The cursor's value as its column has it."""
    field = ordering.removeprefix("-")
    if field in ("created_at", "updated_at"):
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("a time without a zone")
        return moment
    whole = field == "ordinal" and type(value) is int and 0 <= value < 2**31
    words = field == "title" and isinstance(value, str) and "\x00" not in value
    if not (whole or words):
        raise ValueError("no value of this column")
    str(value).encode()  # refuses a lone surrogate, which PostgreSQL's text does not hold
    return value


class OrderedPagination(CursorPagination):
    """As its base, with more to order by; ``?ordering=`` is the former name of ``?order=``. Rows that are changed while somebody pages
    by ``updated_at``, ``title`` or ``ordinal`` move, and so may be seen twice or not at all."""

    orders = (DEFAULT, *(one for one in ORDERINGS if one != DEFAULT))
    parameters = CursorPagination.parameters | {"ordering"}

    def paginate_queryset(  # type: ignore[override]  # as in the base
        self,
        queryset: QuerySet[_M],
        request: Request,
        view: Any = None,
    ) -> list[_M]:
        self.ordering = choice(request, "order", ORDERINGS) or choice(request, "ordering", ORDERINGS) or DEFAULT
        if self.ordering == DEFAULT:
            return super().paginate_queryset(queryset, request, view)
        self.url = request.build_absolute_uri()
        self.limit = _limit(request)
        text = request.query_params.get("cursor")
        self.cursor = None if text is None else Place.decode(text, self.ordering)  # type: ignore[assignment]  # all that the base asks of it is "back"
        rows = list(self._window(queryset))
        self.more = len(rows) > self.limit
        rows = rows[: self.limit]
        if self.cursor and self.cursor.back:
            rows.reverse()
        self.rows = rows
        return rows

    def _window(self, queryset: QuerySet[_M]) -> QuerySet[_M]:
        if self.ordering == DEFAULT:
            return super()._window(queryset)
        field, descending = self.ordering.removeprefix("-"), self.ordering.startswith("-")
        place: Any = self.cursor
        if place is not None:
            descending ^= place.back
            beyond = TupleLessThan if descending else TupleGreaterThan
            queryset = queryset.filter(beyond(Tuple(field, "id"), (place.value, place.id)))
        sign = "-" if descending else ""
        return queryset.order_by(f"{sign}{field}", f"{sign}id")[: self.limit + 1]

    def _link(self, row: Any, *, back: bool) -> str:
        if self.ordering == DEFAULT:
            return super()._link(row, back=back)
        place = Place(back, self.ordering, getattr(row, self.ordering.removeprefix("-")), row.id)
        return replace_query_param(self.url, "cursor", place.encode())


def _not_ours() -> InvalidInput:
    return InvalidInput("The cursor is not one that this list gave out in this order.", code="bad_cursor")
