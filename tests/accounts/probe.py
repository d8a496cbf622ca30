"""Views that use the API ground as the apps do, on the one model that accounts has with ``created_at`` and a UUID: keys."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db import OperationalError
from django.http.response import HttpResponseBase
from django.urls import include, path, re_path
from rest_framework import serializers
from rest_framework.exceptions import Throttled, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.urls import route
from accounts.api.views import ApiView
from accounts.models import ApiKey
from accounts.scopes import ANY_KEY
from accounts.services import create_api_key
from config import api
from realtime.errors import IllegalState, NotFound, Unavailable

handler400, handler403, handler404, handler500 = api.bad_request, api.forbidden, api.not_found, api.server_error

reached = threading.Event()  # set when a handler that was told to wait is running
proceed = threading.Event()
died = threading.Event()  # a process dies once


class PartSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(max_length=10)


class ThingSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=80)
    size = serializers.IntegerField(required=False, max_value=10)
    part = PartSerializer(required=False)
    parts = PartSerializer(many=True, required=False)
    mood = serializers.ChoiceField(choices=["calm", "illegal", "crash", "die", "wait"], required=False)
    metadata = serializers.JSONField(required=False)
    made_at = serializers.DateTimeField(read_only=True)


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    class Meta:
        model = ApiKey
        fields = ("id", "name")


class Things(ApiView):
    scopes = ANY_KEY
    filter_names = frozenset({"tag", "ordering"})

    def get(self, request: Request) -> Response:
        return self.paginated(self.user.api_keys.all(), KeySerializer)

    def post(self, request: Request) -> Response:
        """Makes a key, then behaves as its ``mood`` says: what fails after the change must undo it."""
        data = self.validated(ThingSerializer)
        key, _ = create_api_key(self.user, data["name"])
        match data.get("mood"):
            case "illegal":
                raise IllegalState("not now")
            case "crash":
                raise RuntimeError("secret words")
            case "die" if not died.is_set():
                died.set()
                raise SystemExit
            case "wait":
                reached.set()
                assert proceed.wait(20)
        return self.single({"id": str(key.id), "name": key.name}, 1, status=201)


class Echo(ApiView):
    scopes = ANY_KEY

    def post(self, request: Request) -> Response:
        return Response(request.data)

    def put(self, request: Request) -> Response:
        return Response(self.validated(ThingSerializer, many=True))


class Item(ApiView):
    scopes = ANY_KEY

    version = 3

    def get(self, request: Request, item: UUID) -> Response:
        return self.single({"id": str(item)}, self.version)

    def patch(self, request: Request, item: UUID) -> Response:
        self.check_if_match(self.version)
        return self.single(self.validated(ThingSerializer, partial=True), self.version + 1)


ERRORS: dict[str, Exception] = {
    "operational": OperationalError("password=hunter2 refused"),
    "unavailable": Unavailable("no model"),
    "not-found": NotFound("gone"),
    "validation": ValidationError({"a": {"b/c": ["wrong"]}}),
    "throttled": Throttled(wait=7),
    "bug": KeyError("secret words"),
}


class Raise(ApiView):
    permission_classes = ()
    scopes = ANY_KEY

    def get(self, request: Request, name: str) -> HttpResponseBase:
        raise ERRORS[name]


def plain_view(request: Any, name: str) -> HttpResponseBase:
    raise ERRORS[name]


urlpatterns = [
    *route("api/probe/things", Things, "things"),
    *route("api/probe/things/<uuid:item>", Item, "item"),
    *route("api/probe/echo", Echo, "echo"),
    *route("api/probe/raise/<name>", Raise, "raise"),
    path("api/probe/plain/<name>", plain_view),
    path("page/<name>", plain_view),
    path("accounts/", include("accounts.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("accounts/2fa/", include("allauth.mfa.urls")),
    path("admin/", admin.site.urls),
    re_path(r"^api(?:/(?P<rest>.*))?$", api.unknown_route),
]
