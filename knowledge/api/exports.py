"""The route of exports."""

from __future__ import annotations

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from accounts.api.views import ApiView
from accounts.scopes import PACKS
from knowledge import exports, selectors
from knowledge.api.params import choice
from knowledge.downloads import export_response


class ExportView(ApiView):
    """GET /api/knowledge-packs/{id}/export"""

    scopes = PACKS

    @extend_schema(
        responses={(200, "application/x-ndjson"): OpenApiTypes.BINARY, (200, "application/zip"): OpenApiTypes.BINARY},
        parameters=[OpenApiParameter("format", enum=list(exports.MEDIA_TYPES), default="jsonl")],
    )
    def get(self, request: Request, pk: str) -> StreamingHttpResponse:
        pack = selectors.pack_for(self.user, pk)
        form = choice(request, "format", list(exports.MEDIA_TYPES)) or "jsonl"
        return export_response(request._request, pack, form)
