"""Routes of search."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils.dateparse import parse_date, parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from accounts.models import User
from accounts.scopes import PACKS
from knowledge import selectors
from knowledge.api import serializers as s
from knowledge.api.params import BOOLEANS, bad, choice, number
from knowledge.filters import META_MAX, OPERATORS, Filters, Meta
from knowledge.models import IndexStatus, KnowledgePack, Snapshot
from knowledge.quality import log as quality_log
from knowledge.ranking import Mode
from knowledge.search import LIMIT_MAX, SearchResult, search
from realtime.errors import InvalidInput, NotFound

QUERY_MAX = 1000
VALUE_MAX = 500  # characters of a filter
PACKS_MAX = 20  # in one search

_PARAMETERS = [
    OpenApiParameter("q", required=True, description='Words; "phrases" and -exclusions filter.'),
    OpenApiParameter("mode", enum=list(Mode), default=Mode.HYBRID),
    OpenApiParameter("limit", OpenApiTypes.INT, default=10, description=f"1 to {LIMIT_MAX}"),
    OpenApiParameter("tag", many=True, description="Only entries that carry all of these"),
    OpenApiParameter("source", description="Only entries whose source address begins so"),
    OpenApiParameter("status", many=True, enum=IndexStatus.values, description="Only entries in one of these states"),
    OpenApiParameter("created_after", OpenApiTypes.DATETIME, description="This time or later"),
    OpenApiParameter("created_before", OpenApiTypes.DATETIME),
    OpenApiParameter(
        "meta.KEY",
        description="Only entries with this value in their metadata; also meta.KEY__gt, __gte, __lt, __lte, __ne, __in "
        "(values separated by commas). Numbers, booleans and dates are compared as such.",
    ),
    OpenApiParameter("min_score", OpenApiTypes.FLOAT, description="Only hits of this score or better"),
    OpenApiParameter("explain", OpenApiTypes.BOOL, default=False),
]


class SearchView(ApiView):
    rate_policies = {**ApiView.rate_policies, "GET": "search", "HEAD": "search", "POST": "search"}
    """GET /api/knowledge-packs/{id}/entries/search"""

    scopes = PACKS

    @extend_schema(
        responses=s.SearchOut,
        parameters=[
            *_PARAMETERS,
            OpenApiParameter("snapshot", description="Label or id: search exactly what the pack said then"),
        ],
    )
    def get(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk)
        return Response(s.search_json(_search(request, self.user, [pack], _snapshot(request, pack))))


class SeveralPacksView(ApiView):
    rate_policies = SearchView.rate_policies
    """GET /api/knowledge-packs/search?packs=a,b"""

    scopes = PACKS

    @extend_schema(
        responses=s.SearchOut,
        parameters=[
            OpenApiParameter(
                "packs", required=True, description=f"Ids of up to {PACKS_MAX} packs, separated by commas"
            ),
            *_PARAMETERS,
        ],
    )
    def get(self, request: Request) -> Response:
        ids = dict.fromkeys(i.strip() for i in request.query_params.get("packs", "").split(",") if i.strip())
        if not 1 <= len(ids) <= PACKS_MAX:
            raise bad("packs", f"packs names 1 to {PACKS_MAX} packs, separated by commas.")
        if "snapshot" in request.query_params:
            raise bad("snapshot", "A snapshot is searched on its own pack alone.")
        packs = {pack.pk: pack for pack in (selectors.pack_for(self.user, pack_id) for pack_id in ids)}
        return Response(s.search_json(_search(request, self.user, list(packs.values()), None)))


def _search(request: Request, user: User, packs: list[KnowledgePack], snapshot: Snapshot | None) -> SearchResult:
    result = search(
        packs,
        _query(request),
        mode=choice(request, "mode", list(Mode)) or Mode.HYBRID,
        limit=number(request, "limit", 10, LIMIT_MAX),
        filters=filters(request),
        snapshot=snapshot,
        min_score=_min_score(request),
        explain=BOOLEANS[choice(request, "explain", list(BOOLEANS)) or "false"],
    )
    quality_log.record(packs, user, result.query, result.mode, result, "person")
    return result


def filters(request: Request) -> Filters:
    """The filters that the request's parameters ask for. Raises ``InvalidInput`` with pointers to all that are wrong."""
    params = request.query_params
    wrong: list[InvalidInput] = []

    def read(name: str, reader: Any) -> Any:
        try:
            return reader(name)
        except InvalidInput as error:
            wrong.append(error)
            return None

    def statuses(name: str) -> list[str]:
        asked = [part for value in params.getlist(name) for part in value.split(",")]
        if any(status not in IndexStatus.values for status in asked):
            raise bad(name, f"{name} is one or more of {', '.join(IndexStatus.values)}.")
        return asked

    names = [name for name in params if name.startswith("meta.")]
    made = Filters(
        tags=read("tag", lambda n: _texts(n, params.getlist(n))) or [],
        source=read("source", lambda n: _texts(n, [params.get(n, "")])[0]) or "",
        statuses=read("status", statuses) or [],
        created_after=read("created_after", lambda n: _time(n, params.get(n))),
        created_before=read("created_before", lambda n: _time(n, params.get(n))),
        meta=[meta for name in names for meta in read(name, lambda n: [_meta(n, v) for v in params.getlist(n)]) or []],
    )
    if len(made.meta) > META_MAX:
        wrong.append(bad("meta", f"At most {META_MAX} conditions on metadata."))
    if wrong:
        raise InvalidInput(
            wrong[0].detail, code=wrong[0].code, errors=[pointer for error in wrong for pointer in error.errors]
        )
    return made


def _texts(name: str, values: list[str]) -> list[str]:
    for value in values:
        if len(value) > VALUE_MAX or "\x00" in value:
            raise bad(name, f"{name} has at most {VALUE_MAX} characters, none of them NUL.")
    return values


def _time(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        day = parse_date(text)
        moment = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else parse_datetime(text.replace(" ", "+"))
    except ValueError:
        moment = None
    if moment is None or not 1 < moment.year < 9999:
        raise bad(name, f"{name} is a date or an RFC 3339 time, such as 2026-01-31 or 2026-01-31T12:00:00Z.")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _meta(name: str, value: str) -> Meta:
    key, _, operator = name.removeprefix("meta.").rpartition("__")
    if not key:
        key, operator = operator, "eq"
    if operator not in OPERATORS:
        raise InvalidInput(
            f"{name}: the operator after __ is one of {', '.join(OPERATORS)}.",
            code="bad_meta",
            errors=[{"pointer": f"/{_escaped(name)}", "detail": f"operator {operator!r} is unknown"}],
        )
    _texts(name, [key, value])
    return Meta(key, operator, value)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _min_score(request: Request) -> float | None:
    text = request.query_params.get("min_score")
    if text is None:
        return None
    if not re.fullmatch(r"-?\d{1,3}(\.\d{1,9})?", text, re.ASCII):
        raise bad("min_score", "min_score is a number, such as 0.35.")
    return float(text)


def _snapshot(request: Request, pack: KnowledgePack) -> Snapshot | None:
    name = request.query_params.get("snapshot")
    if name is None:
        return None
    found = Snapshot.objects.filter(_named(name.replace("\x00", "")), pack=pack).first()
    if found is None:
        raise NotFound("The pack has no such snapshot.")
    return found


def _named(name: str) -> Q:
    try:
        return Q(label=name) | Q(pk=UUID(name))
    except ValueError:
        return Q(label=name)


def _query(request: Request) -> str:
    text = request.query_params.get("q")
    if text is None:
        raise bad("q", "q is missing.")
    if len(text) > QUERY_MAX:
        raise bad("q", f"q may have at most {QUERY_MAX} characters.")
    return text
