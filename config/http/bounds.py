"""How long an address, how large a head and how large a body may be. JSON's depth is ``accounts.api.parsers``' business.

Django reads a body to the end, into a temporary file, before any of its own code sees the request: a body that is too large for
every route is therefore turned away in front of it.
"""

from __future__ import annotations

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, Scope
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from config import api
from config.http import safe_headers
from config.http.around import Around

ADDRESS_CHARACTERS = 16_384
HEAD_BYTES = 32_768
FORM_ROOM = 1_048_576  # of a form around the file in it


class Bounds(Around):
    def before(self, request: HttpRequest) -> HttpResponseBase | None:
        if len(request.get_full_path()) > ADDRESS_CHARACTERS:
            return api.refusal(
                request, 414, "uri_too_long", f"An address may have at most {ADDRESS_CHARACTERS} characters."
            )
        head = sum(len(name) + len(value) for name, value in request.META.items() if name.startswith("HTTP_"))
        if head > HEAD_BYTES:
            return api.refusal(
                request, 431, "headers_too_large", f"All headers together may have at most {HEAD_BYTES} bytes."
            )
        return None


class _TooLarge(Exception):
    """More has come than was allowed."""


def bounded(application: ASGI3Application) -> ASGI3Application:
    """The application behind a door that lets no body through which is too large for every route."""

    async def door(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return await application(scope, receive, send)
        limit = max(settings.DATA_UPLOAD_MAX_MEMORY_SIZE, settings.IMPORT_MAX_BYTES) + FORM_ROOM
        if _announced(scope) > limit:
            return await _refuse(scope, send, limit)
        taken = 0

        async def counted() -> ASGIReceiveEvent:
            nonlocal taken
            event = await receive()
            if event["type"] == "http.request":
                taken += len(event["body"])
                if taken > limit:
                    raise _TooLarge
            return event

        try:
            return await application(scope, counted, send)
        except _TooLarge:  # raised while the body was read, and so before there was an answer
            return await _refuse(scope, send, limit)

    return door


def _announced(scope: Scope) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"")  # type: ignore[typeddict-item]  # of http alone
    return int(value) if value.isdigit() else 0


async def _refuse(scope: Scope, send: ASGISendCallable, limit: int) -> None:
    """The rest of the body is not read, so the connection cannot be used again."""
    response = api.too_large(str(scope["path"]), limit)  # type: ignore[typeddict-item]  # of http alone
    safe_headers.add(response)
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    await send(
        {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": [*headers, (b"connection", b"close")],
            "trailers": False,
        }
    )
    await send({"type": "http.response.body", "body": response.content, "more_body": False})
