"""One line for each request: who, which route, what came of it and what it cost.

Nothing that a caller wrote gets in but the method: the route is our pattern, not the path (which holds ids), and query strings,
bodies and headers are left out. Tracebacks are django-structlog's, under the same request id. A stream is noted when it begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import structlog
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.functional import LazyObject, empty
from django_structlog.middlewares import RequestMiddleware

from accounts import caching
from config.http.around import Around

logger = structlog.get_logger("quorum.access")


@dataclass(slots=True)
class Queries:
    """What one request asked of the database; ``seconds`` is the time until the server had answered."""

    count: int = 0
    seconds: float = 0.0


_current: ContextVar[Queries | None] = ContextVar("queries of this request", default=None)


class AccessLog(Around):
    def before(self, request: HttpRequest) -> None:
        # Views run on threads of their own, in a copy of this context: they add to this very object.
        request._began, request._queries = time.perf_counter(), Queries()  # type: ignore[attr-defined]  # ours
        _current.set(request._queries)  # type: ignore[attr-defined]  # ours
        request._cache = []  # type: ignore[attr-defined]  # ours
        caching.outcomes.set(request._cache)  # type: ignore[attr-defined]  # ours

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        queries: Queries = request._queries  # type: ignore[attr-defined]  # set above
        logger.info(
            "request",
            user=known_user(request),
            method=request.method,
            route=request.resolver_match.route if request.resolver_match else None,
            status=response.status_code,
            ms=round((time.perf_counter() - request._began) * 1000, 1),  # type: ignore[attr-defined]  # set above
            queries=queries.count,
            queries_ms=round(queries.seconds * 1000, 1),
            cache=request._cache or None,  # type: ignore[attr-defined]  # set above
            bytes=len(response.content) if isinstance(response, HttpResponse) else None,
            request_id=request.META.get("HTTP_X_REQUEST_ID"),
        )
        _current.set(None)
        caching.outcomes.set(None)
        return response


class TracebackLog(RequestMiddleware):
    """django-structlog's, for its tracebacks and the request id in every line. Its own two lines for each request are below our
    level, name the path without the query string, and its look at the user never is what asks the database for it."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {request.path}"

    @staticmethod
    def bind_user_id(request: HttpRequest) -> None:
        if user := known_user(request):
            structlog.contextvars.bind_contextvars(user_id=user)


def known_user(request: HttpRequest) -> str | None:
    """The id of the user when somebody has asked for it by now; nobody is looked up for the log."""
    user = request.__dict__.get("user")
    if isinstance(user, LazyObject) and user._wrapped is empty:
        return None
    return str(user.pk) if user is not None and user.pk is not None else None


def watch_connection(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if _count not in connection.execute_wrappers:
        # First in the list: those that come for a while are taken off its end.
        connection.execute_wrappers.insert(0, _count)


def _count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    queries = _current.get()
    if queries is None:
        return execute(sql, params, many, context)
    began = time.perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        queries.count += 1
        queries.seconds += time.perf_counter() - began


def register() -> None:
    connection_created.connect(watch_connection, dispatch_uid="config.http.access_log")
