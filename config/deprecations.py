"""What of the API is on its way out: one table, from which the headers and the marks in the OpenAPI document are made.

``Deprecation`` says since when (RFC 9745), ``Sunset`` from when on it may be gone (RFC 8594), and the link where to read on. A
thing is announced at least 180 days before its sunset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.http import http_date

from config.http.around import Around

NOTICE_DAYS: Final = 180


@dataclass(frozen=True, slots=True)
class Deprecated:
    """One thing of a route: a query parameter, a method, or (neither given) all of it. Days begin at midnight, UTC."""

    since: date
    sunset: date
    instead: str  # what to use; one sentence for the document
    parameter: str = ""
    method: str = ""

    def is_used_by(self, request: HttpRequest) -> bool:
        return (not self.parameter or self.parameter in request.GET) and self.method in ("", request.method)

    def headers(self) -> dict[str, str]:
        return {
            "Deprecation": f"@{_seconds(self.since)}",
            "Sunset": http_date(_seconds(self.sunset)),
            "Link": '</api/docs>; rel="deprecation"; type="text/html"',
        }


# By route, as in urls.py and without a slash at its end.
TABLE: Final[Mapping[str, tuple[Deprecated, ...]]] = {
    "api/knowledge-packs/<str:pk>/entries": (
        Deprecated(date(2026, 11, 23), date(2027, 6, 30), "Use `order`.", parameter="ordering"),
    ),
}


def used(request: HttpRequest) -> Iterator[Deprecated]:
    route = request.resolver_match.route.rstrip("/") if request.resolver_match else ""
    yield from (one for one in TABLE.get(route, ()) if one.is_used_by(request))


class Deprecation(Around):
    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        # Of several, the one that goes first matters.
        if first := min(used(request), key=lambda one: one.sunset, default=None):
            for name, value in first.headers().items():
                response.headers[name] = value
        return response


def _seconds(day: date) -> int:
    return int(datetime.combine(day, time(), tzinfo=UTC).timestamp())
