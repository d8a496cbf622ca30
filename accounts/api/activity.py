"""What one has open or running, and where: ``/api/me/activity``."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import activity
from accounts.api.pagination import refuse_unknown
from accounts.api.urls import route
from accounts.api.views import ApiView
from accounts.scopes import PEOPLE


class WatchedOut(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=[("login", "a browser or an app"), ("key", "a program")])
    id = serializers.UUIDField(
        allow_null=True, help_text="Of the login session or of the API key; null when it has ended."
    )
    device = serializers.CharField(help_text='"Firefox on Linux", or what the key is called.')
    address = serializers.IPAddressField(allow_null=True, help_text="Where it was used from last.")
    since = serializers.DateTimeField()


class ActiveOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    status = serializers.CharField()
    running_since = serializers.DateTimeField(
        allow_null=True, help_text="Since when the council, or an import of one's own into the pack, is at work."
    )
    watched = WatchedOut(many=True, help_text="By a socket or an event stream; the earliest first.")


class ActivityOut(serializers.Serializer[Any]):
    live = serializers.BooleanField(help_text="False: it is not known just now what is watched, only what runs.")
    councils = ActiveOut(many=True)
    packs = ActiveOut(many=True)


class ActivityView(ApiView):
    """GET /api/me/activity"""

    scopes = PEOPLE

    @extend_schema(
        operation_id="me_activity",
        responses=ActivityOut,
        description="Councils and packs that one has open or running, on which devices and since when. It may be a second behind; "
        "a device that vanished is shown for up to 60 s. Not for API keys, which are not to learn where their owner is.",
    )
    def get(self, request: Request) -> Response:
        refuse_unknown(request, self.filter_names)
        return Response(ActivityOut(activity.activity(self.user)).data)


urlpatterns = route("me/activity", ActivityView, "me-activity")
