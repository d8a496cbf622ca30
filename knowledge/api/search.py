"""Routes of search."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from knowledge import selectors
from knowledge.api import serializers as s
from knowledge.api.params import BOOLEANS, bad, choice, number
from knowledge.quality import log as quality_log
from knowledge.ranking import Mode
from knowledge.search import LIMIT_MAX, search

QUERY_MAX = 1000


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
            mode=choice(request, "mode", list(Mode)) or Mode.HYBRID,
            limit=number(request, "limit", 10, LIMIT_MAX),
            tags=params.getlist("tag"),
            explain=BOOLEANS[choice(request, "explain", list(BOOLEANS)) or "false"],
        )
        quality_log.record([pack], self.user, result.query, result.mode, result, "person")
        return Response(s.search_json(result))


def _query(request: Request) -> str:
    text = request.query_params.get("q")
    if text is None:
        raise bad("q", "q is missing.")
    if len(text) > QUERY_MAX:
        raise bad("q", f"q may have at most {QUERY_MAX} characters.")
    return text
