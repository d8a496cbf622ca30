"""The event log of any stream as a list, for programs that poll."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from realtime.api import events_after
from realtime.errors import InvalidInput
from realtime.models import Stream

LIMIT = 500


class EventsOut(serializers.Serializer[Any]):
    """``next`` is the ``after`` of the following page; it stays where it was when there is nothing new."""

    next = serializers.IntegerField()
    results = serializers.ListField(child=serializers.JSONField())


class EventLogView(ApiView):
    """GET …/{id}/events?after=0&limit=500"""

    @abstractmethod
    def stream(self, pk: Any) -> Stream:
        """The stream, if this user may see it. Raises ``NotFound``."""

    @extend_schema(responses=EventsOut, parameters=[OpenApiParameter("after", int), OpenApiParameter("limit", int)])
    def get(self, request: Request, pk: Any) -> Response:
        stream = self.stream(pk)
        after = _number(request, "after", 0, low=0, high=2**62)
        limit = _number(request, "limit", LIMIT, low=1, high=LIMIT)
        return Response(events_after(stream, after, limit))


def _number(request: Request, name: str, default: int, *, low: int, high: int) -> int:
    raw = request.query_params.get(name)
    if raw is None:
        return default
    if not (raw.isascii() and raw.isdigit() and len(raw) < 20 and low <= int(raw) <= high):
        raise InvalidInput(f"{name} must be a whole number from {low} to {high}.", code="bad_query")
    return int(raw)
