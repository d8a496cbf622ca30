"""Exports as HTTP responses, for the API and the admin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from knowledge import exports
from knowledge.models import KnowledgePack


def export_response(request: HttpRequest, pack: KnowledgePack, form: str) -> StreamingHttpResponse:
    """The pack as a file to download, made while it is sent. ``form`` is one of ``exports.MEDIA_TYPES``."""
    pieces = exports.export(pack, form)
    # Django reads the whole of a plain iterator into memory under ASGI, and of an async one under WSGI.
    stream = _asynchronous(pieces) if isinstance(request, ASGIRequest) else pieces
    headers = {
        "Content-Disposition": f'attachment; filename="{exports.filename(pack, form)}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",  # should anybody show it in place after all
    }
    return StreamingHttpResponse(stream, content_type=exports.MEDIA_TYPES[form], headers=headers)


async def _asynchronous(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    def following() -> bytes | None:
        return next(pieces, None)

    while (piece := await sync_to_async(following)()) is not None:
        yield piece
