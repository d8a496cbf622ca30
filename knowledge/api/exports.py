"""The route of exports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from accounts.api.views import ApiView
from knowledge import exports, selectors
from knowledge.api.params import choice


class ExportView(ApiView):
    """GET /api/knowledge-packs/{id}/export"""

    @extend_schema(
        responses={(200, "application/x-ndjson"): OpenApiTypes.BINARY, (200, "application/zip"): OpenApiTypes.BINARY},
        parameters=[OpenApiParameter("format", enum=list(exports.MEDIA_TYPES), default="jsonl")],
    )
    def get(self, request: Request, pk: str) -> StreamingHttpResponse:
        pack = selectors.pack_for(self.user, pk)
        form = choice(request, "format", list(exports.MEDIA_TYPES)) or "jsonl"
        pieces = exports.export(pack, form)
        # Django reads the whole of a plain iterator into memory under ASGI, and of an async one under WSGI.
        stream = _asynchronous(pieces) if isinstance(request._request, ASGIRequest) else pieces
        headers = {
            "Content-Disposition": f'attachment; filename="{exports.filename(pack, form)}"',
            "X-Content-Type-Options": "nosniff",
        }
        return StreamingHttpResponse(stream, content_type=exports.MEDIA_TYPES[form], headers=headers)


async def _asynchronous(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    def following() -> bytes | None:
        return next(pieces, None)

    while (piece := await sync_to_async(following)()) is not None:
        yield piece
