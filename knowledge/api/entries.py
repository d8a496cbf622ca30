"""Routes of entries."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from knowledge import selectors, services
from knowledge.api import serializers as s
from knowledge.api.params import choice
from knowledge.batch import ItemResult
from knowledge.drafts import EntryDraft
from knowledge.models import IndexStatus, Role
from realtime.errors import InvalidInput

ITEMS_MAX = 500


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
        if status := choice(request, "status", IndexStatus.values):
            entries = entries.filter(index_status=status)
        return self.paginated(entries, s.EntryHeader)


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
