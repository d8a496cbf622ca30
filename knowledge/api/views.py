"""The eight knowledge routes: validate, call one service, render."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.events import EventLogView
from accounts.api.views import ApiView
from knowledge import selectors, services
from knowledge.api import serializers as s
from knowledge.batch import ItemResult
from knowledge.drafts import EntryDraft
from knowledge.models import IndexStatus, KnowledgePack, Role
from knowledge.ranking import Mode
from knowledge.search import LIMIT_MAX, search
from realtime.errors import InvalidInput

ITEMS_MAX = 500
QUERY_MAX = 1000
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class PackListView(ApiView):
    """POST and GET /api/knowledge-packs"""

    @extend_schema(request=s.PackIn, responses={201: s.PackOut})
    def post(self, request: Request) -> Response:
        pack = services.create_pack(self.user, **self.validated(s.PackIn))
        return self.single(s.PackOut(pack).data, pack.version, status=201)

    @extend_schema(responses=s.PackOut(many=True), parameters=[OpenApiParameter("status", enum=s.OPEN_STATUSES)])
    def get(self, request: Request) -> Response:
        packs = selectors.packs_for(self.user)
        if status := _choice(request, "status", s.OPEN_STATUSES):
            packs = packs.filter(status=status)
        return self.paginated(packs, s.PackOut)


class PackView(ApiView):
    """GET, PATCH and DELETE /api/knowledge-packs/{id}"""

    @extend_schema(responses=s.PackOut)
    def get(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk)
        return self.single(s.PackOut(pack).data, pack.version)

    @extend_schema(request=s.PackPatch, responses=s.PackOut)
    def patch(self, request: Request, pk: str) -> Response:
        found = selectors.pack_for(self.user, pk, Role.EDITOR)
        changes = self.validated(s.PackPatch, partial=True)
        pack = services.update_pack(found.pk, changes, precondition=self.check_if_match)
        return self.single(s.PackOut(selectors.for_same_person(pack, found)).data, pack.version)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.OWNER)
        services.delete_pack(pack.pk, precondition=self.check_if_match)
        return Response(status=204)


class EntryListView(ApiView):
    """POST and GET /api/knowledge-packs/{id}/entries"""

    @extend_schema(
        request=EntryDraft,
        responses={200: s.EntryOut, 201: s.EntryOut, 207: s.ItemsOut},
        description=f"Takes one entry, or an array of at most {ITEMS_MAX}: then the answer is 207 with one result for each. "
        "An entry whose external_id is known in the pack becomes a new revision of that entry (200).",
    )
    def post(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.EDITOR)
        if isinstance(request.data, list):
            results = services.add_entries(pack, self.user, _few_enough(request.data))
            return Response({"results": [_item_json(result) for result in results]}, status=207)
        entry, outcome = services.add_entry(pack, self.user, request.data)
        return self.single(s.EntryOut(entry).data, entry.version, status=201 if outcome == "created" else 200)

    @extend_schema(responses=s.EntryHeader(many=True), parameters=[OpenApiParameter("status", enum=IndexStatus.values)])
    def get(self, request: Request, pk: str) -> Response:
        entries = selectors.entries_of(selectors.pack_for(self.user, pk))
        if status := _choice(request, "status", IndexStatus.values):
            entries = entries.filter(index_status=status)
        return self.paginated(entries, s.EntryHeader)


class SearchView(ApiView):
    """GET /api/knowledge-packs/{id}/entries/search"""

    @extend_schema(
        responses=s.SearchOut,
        parameters=[
            OpenApiParameter("q", required=True, description='Words; "phrases" and -exclusions filter.'),
            OpenApiParameter("mode", enum=list(Mode), default=Mode.HYBRID),
            OpenApiParameter("limit", OpenApiTypes.INT, default=10, description=f"1 to {LIMIT_MAX}"),
            OpenApiParameter("tag", many=True, description="Only entries that carry all of these"),
            OpenApiParameter("explain", OpenApiTypes.BOOL, default=False),
        ],
    )
    def get(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk)
        params = request.query_params
        result = search(
            [pack],
            _query(request),
            mode=_choice(request, "mode", list(Mode)) or Mode.HYBRID,
            limit=_number(request, "limit", 10, LIMIT_MAX),
            tags=params.getlist("tag"),
            explain=_BOOLEANS[_choice(request, "explain", list(_BOOLEANS)) or "false"],
        )
        return Response(s.search_json(result))


def _item_json(result: ItemResult) -> dict[str, Any]:
    return {
        "index": result.index,
        "status": result.status,
        **({"id": str(result.entry.pk)} if result.entry else {}),
        **({"errors": result.errors} if result.errors else {}),
    }


def _few_enough(items: list[Any]) -> list[Any]:
    if len(items) > ITEMS_MAX:
        detail = f"At most {ITEMS_MAX} entries may be sent at once, not {len(items)}."
        raise InvalidInput(detail, code="too_many_items", errors=[{"pointer": "", "detail": detail}])
    return items


def _query(request: Request) -> str:
    text = request.query_params.get("q")
    if text is None:
        raise _bad("q", "q is missing.")
    if len(text) > QUERY_MAX:
        raise _bad("q", f"q may have at most {QUERY_MAX} characters.")
    return text


def _choice(request: Request, name: str, allowed: Sequence[str]) -> str | None:
    value = request.query_params.get(name)
    if value is not None and value not in allowed:
        raise _bad(name, f"{name} is one of {', '.join(allowed)}.")
    return value


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not 1 <= int(text) <= most:
        raise _bad(name, f"{name} is a whole number from 1 to {most}.")
    return int(text)


def _bad(parameter: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, code=f"bad_{parameter}", errors=[{"pointer": f"/{parameter}", "detail": detail}])


class EventsView(EventLogView):
    """GET /api/knowledge-packs/{id}/events"""

    def stream(self, pk: str) -> KnowledgePack:
        return selectors.pack_for(self.user, pk)
