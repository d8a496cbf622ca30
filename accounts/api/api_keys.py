"""The keys of one's programs: ``/api/me/api-keys``. With a key this needs the scope ``admin``; people with a session may all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import keys
from accounts.api import conditions
from accounts.api.urls import route
from accounts.api.views import ApiView
from accounts.models import ApiKey
from accounts.scopes import ACCOUNT, MEANINGS, Scope

Json = dict[str, Any]


class ScopesField(serializers.ListField):
    child = serializers.ChoiceField(choices=[(str(scope), meaning) for scope, meaning in MEANINGS.items()])


class ApiKeyIn(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=keys.NAME_MAX)
    scopes = ScopesField(allow_empty=False, max_length=len(Scope))
    expires_at = serializers.DateTimeField(required=False, allow_null=True, help_text="Left out or null: no end.")


class ApiKeyPatch(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=keys.NAME_MAX, required=False)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, help_text="null: no end.")


class RotateIn(serializers.Serializer[Any]):
    overlap_s = serializers.IntegerField(
        min_value=0,
        max_value=int(keys.OVERLAP_MAX.total_seconds()),
        default=int(keys.OVERLAP.total_seconds()),
        help_text="For how many seconds the old secret goes on. 0 ends all older ones at once.",
    )


_COLUMNS = (
    "id", "name", "prefix", "scopes", "created_at", "expires_at", "last_used_at", "last_used_ip", "rotated_at", "revoked_at", "version",
)  # fmt: skip


class ApiKeyOut(serializers.Serializer[ApiKey]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField(help_text="How the present secret begins.")
    scopes = ScopesField()
    status = serializers.ChoiceField(choices=keys.STATUSES)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To a minute.")
    last_used_ip = serializers.IPAddressField(allow_null=True)
    rotated_at = serializers.DateTimeField(allow_null=True)
    previous_until = serializers.DateTimeField(
        allow_null=True, help_text="Until when the secret before the present one works; null when none does."
    )
    revoked_at = serializers.DateTimeField(allow_null=True)
    version = serializers.IntegerField()

    def to_representation(self, instance: ApiKey) -> Json:
        now = timezone.now()
        status = keys.status_of(instance, now)
        overlaps = status == "active" and instance.previous_until is not None and instance.previous_until > now
        return {
            **{name: getattr(instance, name) for name in _COLUMNS},
            "status": status,
            "previous_until": instance.previous_until if overlaps else None,
        }


class NewApiKeyOut(ApiKeyOut):
    key = serializers.CharField(
        allow_null=True,
        help_text="The plaintext, shown in this answer alone. null when a request is repeated under its Idempotency-Key: it is "
        "stored nowhere. Whoever lost it rotates the key with `overlap_s` 0.",
    )


class _ShowsSecret(ApiView):
    """Answers that hold a plaintext: kept by no cache, and without it for repetitions."""

    scopes = ACCOUNT

    def shown_once(self, key: ApiKey, plaintext: str, status: int) -> Response:
        headers = {"Cache-Control": "no-store", "ETag": conditions.etag(key.version)}
        return Response({**ApiKeyOut(key).data, "key": plaintext}, status=status, headers=headers)

    def repeated(self, data: Any) -> Any:
        return {**data, "key": None} if "key" in data else data


class ApiKeyListView(_ShowsSecret):
    """GET and POST /api/me/api-keys"""

    filter_names = frozenset({"status"})

    @extend_schema(
        operation_id="me_api_keys_list",
        responses=ApiKeyOut(many=True),
        parameters=[OpenApiParameter("status", enum=list(keys.STATUSES))],
    )
    def get(self, request: Request) -> Response:
        return self.paginated(keys.keys_of(self.user, request.query_params.get("status")), ApiKeyOut)

    @extend_schema(
        operation_id="me_api_keys_create",
        request=ApiKeyIn,
        responses={201: NewApiKeyOut},
        description="A key never makes one that could do more than itself (403 `insufficient_scope`), or for longer (403 "
        "`key_outlives_maker`).",
    )
    def post(self, request: Request) -> HttpResponseBase:
        key, plaintext = keys.create_api_key(self.user, **self.validated(ApiKeyIn), maker=self.key)
        return self.shown_once(key, plaintext, 201)


class ApiKeyView(ApiView):
    """GET, PATCH and DELETE /api/me/api-keys/{id}"""

    scopes = ACCOUNT

    @extend_schema(operation_id="me_api_keys_retrieve", responses=ApiKeyOut)
    def get(self, request: Request, pk: UUID) -> Response:
        return self._answer(keys.key_of(self.user, pk))

    @extend_schema(
        operation_id="me_api_keys_update",
        request=ApiKeyPatch,
        responses=ApiKeyOut,
        description="Scopes stay as they are: make another key. One that has ended stays so (409 `key_ended`).",
    )
    def patch(self, request: Request, pk: UUID) -> Response:
        keys.key_of(self.user, pk)
        changes = self.validated(ApiKeyPatch, partial=True)
        return self._answer(keys.change_api_key(self.user, pk, changes, self.check_if_match, self.key))

    @extend_schema(
        operation_id="me_api_keys_revoke",
        responses={204: None},
        description="Revokes the key with all of its secrets, at once and for ever. It stays in the list.",
    )
    def delete(self, request: Request, pk: UUID) -> Response:
        keys.revoke_checked(self.user, pk, self.check_if_match)
        return Response(status=204)

    def _answer(self, key: ApiKey) -> Response:
        """Never 304: a use changes what is shown, and no version."""
        return Response(ApiKeyOut(key).data, headers={"ETag": conditions.etag(key.version)})


class RotateView(_ShowsSecret):
    """POST /api/me/api-keys/{id}/rotate"""

    @extend_schema(
        operation_id="me_api_keys_rotate",
        request=RotateIn,
        responses={200: NewApiKeyOut},
        description="A new secret for the same key. The old one goes on for `overlap_s`, an hour by default and 7 days at most. While it "
        "does, only a rotation with `overlap_s` 0 is taken (else 409 `key_rotating`), which ends both older ones.",
    )
    def post(self, request: Request, pk: UUID) -> HttpResponseBase:
        keys.key_of(self.user, pk)
        overlap = timedelta(seconds=self.validated(RotateIn, request.data or {})["overlap_s"])
        key, plaintext = keys.rotate_api_key(self.user, pk, overlap, self.check_if_match, self.key)
        return self.shown_once(key, plaintext, 200)


urlpatterns = [
    *route("me/api-keys", ApiKeyListView, "me-api-keys"),
    *route("me/api-keys/<uuid:pk>", ApiKeyView, "me-api-key"),
    *route("me/api-keys/<uuid:pk>/rotate", RotateView, "me-api-key-rotate"),
]
