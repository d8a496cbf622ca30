"""What people read and say of their own stream: ``/api/me``. Its live form is ``/api/me/stream``, which council mounts."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import streams
from accounts.api.events import EventLogView, EventsOut
from accounts.api.urls import route
from accounts.api.views import ApiView
from accounts.scopes import NEWS
from realtime.models import Stream


class ReadIn(serializers.Serializer[Any]):
    up_to = serializers.IntegerField(
        min_value=0, max_value=2**62, help_text="The number of the newest event that has been seen."
    )


class ReadOut(serializers.Serializer[Any]):
    read_up_to = serializers.IntegerField()
    unread = serializers.IntegerField(help_text="How many notifications are still unread.")


class NotificationsReadView(ApiView):
    """POST /api/me/notifications/read"""

    scopes = NEWS

    @extend_schema(
        operation_id="me_notifications_read",
        request=ReadIn,
        responses=ReadOut,
        description="Notifications up to this event are read, on every device. A number below what was read changes nothing; one "
        "that the stream has not reached is 400 (`bad_up_to`).",
    )
    def post(self, request: Request) -> Response:
        stream = streams.mark_read(self.user, **self.validated(ReadIn))
        return Response({"read_up_to": stream.read_up_to, "unread": len(streams.unread(stream))})


class MyEventsView(EventLogView):
    """GET /api/me/events?after=0&limit=500, from the oldest event that is still kept."""

    scopes = NEWS

    def stream(self, pk: Any) -> Stream:
        return streams.stream_of(pk)

    @extend_schema(
        operation_id="me_events_list",
        responses=EventsOut,
        parameters=[OpenApiParameter("after", int), OpenApiParameter("limit", int)],
    )
    def get(self, request: Request) -> Response:  # type: ignore[override]  # nobody names a stream here: it is the caller's own
        return super().get(request, self.user.pk)


urlpatterns = [
    *route("me/notifications/read", NotificationsReadView, "me-notifications-read"),
    *route("me/events", MyEventsView, "me-events"),
]
