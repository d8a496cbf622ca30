"""The live stream as Server-Sent Events: the frames of the socket protocol, for ``EventSource`` and ``curl -N``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from http import HTTPStatus
from typing import Any
from uuid import UUID

from channels.db import aclose_old_connections
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from realtime import auth, feed, frames, limits
from realtime.auth import Identity, Keys, Refused
from realtime.db import query
from realtime.frames import Close
from realtime.reader import DATABASE_DOWN
from realtime.sources import StreamSource
from realtime.watch import Watch, access

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]
Wait = Callable[[HttpRequest, AbstractBaseUser], int | None]  # seconds, when a user opens too many in too short a time

STATUS = {
    Close.RESTART: HTTPStatus.SERVICE_UNAVAILABLE,
    Close.BAD_FRAME: HTTPStatus.BAD_REQUEST,
    Close.SIGNED_OUT: HTTPStatus.UNAUTHORIZED,
    Close.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Close.UNKNOWN: HTTPStatus.NOT_FOUND,
    Close.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
}
CODE = {
    Close.RESTART: "unavailable",
    Close.BAD_FRAME: "invalid",
    Close.SIGNED_OUT: "not_authenticated",
    Close.FORBIDDEN: "forbidden",
    Close.UNKNOWN: "not_found",
    Close.TOO_MANY: "too_many_streams",
}
ALLOW = {"Allow": "GET, HEAD, OPTIONS"}
HEADERS = {
    HTTPStatus.METHOD_NOT_ALLOWED: ALLOW,
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": "1"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "1"},
}


def stream_view(source: StreamSource, *, keys: Keys, wait: Wait | None = None) -> View:
    """An async view ``(request, pk)`` that streams the source's events; without a ``pk`` those of the caller's own stream.

    Resumes after ``Last-Event-ID`` (or ``?after=``); without either it begins with a snapshot. Refusals are ordinary
    responses with a problem for a body. The response holds no database connection while it is open.
    """

    async def view(request: HttpRequest, pk: UUID | None = None) -> HttpResponseBase:
        if request.method == "OPTIONS":
            return HttpResponse(status=204, headers=ALLOW)
        if request.method not in ("GET", "HEAD"):
            return _problem(request, HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed")
        try:
            last_seq = _last_seq(request)
            identity, stream_id = await _identify(request, source, pk, keys)
        except Refused as refused:
            return _refusal(request, refused)
        request.user = identity.user  # type: ignore[assignment]  # for the access log; this app stands below accounts
        if wait and (seconds := await query(wait, request, identity.user)):
            refusal = _problem(request, HTTPStatus.TOO_MANY_REQUESTS, "rate_limited")
            refusal.headers["Retry-After"] = str(seconds)
            return refusal
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            return HttpResponse(content_type="text/event-stream", headers=headers)
        content = _stream(Watch(feed.current(), source, stream_id, identity), last_seq)
        return StreamingHttpResponse(content, content_type="text/event-stream", headers=headers)

    view.scopes = source.scopes  # type: ignore[attr-defined]  # for those who list what is declared, as of classes of views
    return view


def _last_seq(request: HttpRequest) -> int | None:
    given = request.headers.get("Last-Event-ID") or request.GET.get("after")
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 18):
        raise Refused(Close.BAD_FRAME)
    return int(given)


async def _identify(request: HttpRequest, source: StreamSource, pk: UUID | None, keys: Keys) -> tuple[Identity, UUID]:
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        address = auth.ip_address(request.META.get("REMOTE_ADDR", ""))
        identity = await query(auth.from_headers, headers, keys, origin_required=False, address=address)
        if identity is None:
            raise Refused(Close.SIGNED_OUT)
        identity.require(source.scopes)
        stream_id = identity.user_id if pk is None else pk
        if (code := await query(access, source, identity.user, stream_id)) is not None:
            raise Refused(code)
    except DATABASE_DOWN as error:
        raise Refused(Close.RESTART) from error
    if feed.current().is_full(identity.user_id):
        raise Refused(Close.TOO_MANY)
    return identity, stream_id


async def _stream(watch: Watch, last_seq: int | None) -> AsyncIterator[bytes]:
    """Joins only when the response is really read, so that one that never is leaves nothing behind."""
    running: list[asyncio.Task[Any]] = []
    # Middleware has read the user for its log, after the view, on this request's own thread; Django would keep that thread's
    # connection until the response ends, and ten open streams would use up the pool.
    await aclose_old_connections()
    try:
        yield b"retry: 1000\n\n"
        await watch.open(last_seq)
        guard = asyncio.create_task(watch.guard())
        waiting = asyncio.create_task(watch.outbox.get())
        running = [guard, waiting]
        while not guard.done():
            await asyncio.wait(running, timeout=limits.SSE_COMMENT_S, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                yield waiting.result().sse
                running[1] = waiting = asyncio.create_task(watch.outbox.get())
            elif not guard.done():
                yield b": still here\n\n"
        yield frames.closing(guard.result()).sse
    except Refused as refused:
        yield frames.closing(refused.code).sse
    finally:
        for task in running:
            task.cancel()
        watch.close()


def _refusal(request: HttpRequest, refused: Refused) -> HttpResponse:
    """A key without the scopes is challenged as RFC 6750 says (section 3.1)."""
    if not refused.needed:
        return _problem(request, STATUS[refused.code], CODE[refused.code])
    scopes = " ".join(sorted(refused.needed))
    response = _problem(request, HTTPStatus.FORBIDDEN, "insufficient_scope", f"The API key needs the scopes {scopes}.")
    response.headers["WWW-Authenticate"] = f'Bearer error="insufficient_scope", scope="{scopes}"'
    return response


def _problem(request: HttpRequest, status: HTTPStatus, code: str, detail: str = "") -> HttpResponse:
    """RFC 9457, in the shape of ``config.api``, which stands above this app."""
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": detail or status.description,
        "code": code,
        "errors": [],
        "request_id": request.META.get("HTTP_X_REQUEST_ID", ""),
    }
    return JsonResponse(body, status=status, content_type="application/problem+json", headers=HEADERS.get(status))
