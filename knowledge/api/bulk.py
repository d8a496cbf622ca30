"""Routes that change many entries at once."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from accounts.scopes import PACKS
from knowledge import selectors, services
from knowledge.api import serializers as s
from knowledge.models import Role
from knowledge.services.bulk import BulkResult
from realtime.errors import InvalidInput


class BulkView(ApiView):
    """POST /api/knowledge-packs/{id}/entries/bulk"""

    scopes = PACKS

    @extend_schema(
        request=s.BulkIn,
        responses={207: s.BulkOut},
        description="One action on many entries. What can be done is done together; what cannot is reported with its reason.",
    )
    def post(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.EDITOR)
        asked = self.validated(s.BulkIn)
        to = selectors.pack_for(self.user, asked["to"], Role.EDITOR) if "to" in asked else None
        if to == pack:
            detail = "The entries are in this pack already."
            raise InvalidInput(detail, code="bad_to", errors=[{"pointer": "/to", "detail": detail}])
        tags = asked.get("tags", ())
        results = services.bulk_entries(pack, self.user, asked["action"], asked["ids"], tags=tags, to=to)
        return Response({"results": [_result_json(result) for result in results]}, status=207)


class ReorderView(ApiView):
    """POST /api/knowledge-packs/{id}/entries/reorder"""

    scopes = PACKS

    @extend_schema(request=s.ReorderIn, responses=s.ReorderOut)
    def post(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.EDITOR)
        asked = self.validated(s.ReorderIn)
        side, anchor = ("before", asked["before"]) if "before" in asked else ("after", asked["after"])
        changed = services.reorder_entries(pack.pk, asked["ids"], "before" if side == "before" else "after", anchor)
        return Response({"results": [{"id": str(entry), "ordinal": ordinal} for entry, ordinal in changed.items()]})


def _result_json(result: BulkResult) -> dict[str, Any]:
    failure = {"code": result.error.code, "detail": result.error.detail} if result.error else {}
    return {"id": str(result.id), "status": result.status, **failure}
