"""Files to be saved, made or read while they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse


def download(request: HttpRequest, pieces: Iterator[bytes], media_type: str, filename: str) -> StreamingHttpResponse:
    """Never shown in place. ``filename`` is ASCII without quotes."""
    # Django reads the whole of a plain iterator into memory under ASGI, and of an async one under WSGI.
    stream = _asynchronous(pieces) if isinstance(request, ASGIRequest) else pieces
    headers = {
        "Content-Disposition": f'attachment; filename="{filename}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",  # should anybody show it in place after all
    }
    return StreamingHttpResponse(stream, content_type=media_type, headers=headers)


async def _asynchronous(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    def following() -> bytes | None:
        return next(pieces, None)

    while (piece := await sync_to_async(following)()) is not None:
        yield piece
