"""GET /api/audit: the audit log, for staff."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.urls import route
from accounts.api.views import ApiView
from accounts.audit.actions import ACTIONS
from accounts.models_audit import ActorKind, AuditEntry, Outcome
from accounts.scopes import ACCOUNT
from realtime.errors import Forbidden

_FILTERS: Final = {
    "actor": "actor_id", "key": "key_id", "action": "action", "object_type": "object_type", "object": "object_id",
    "outcome": "outcome", "request_id": "request_id", "since": "created_at__gte", "until": "created_at__lt",
}  # fmt: skip


class AuditQuery(serializers.Serializer[Any]):
    actor = serializers.UUIDField(required=False, help_text="The id of a person.")
    key = serializers.UUIDField(required=False, help_text="The id of an API key.")
    action = serializers.ChoiceField(choices=list(ACTIONS), required=False)
    object_type = serializers.CharField(
        max_length=40, required=False, help_text="For example pack, council, key or user."
    )
    object = serializers.CharField(max_length=64, required=False, help_text="The id of what it was done to.")
    outcome = serializers.ChoiceField(choices=list(Outcome), required=False)
    request_id = serializers.CharField(max_length=128, required=False)
    since = serializers.DateTimeField(required=False, help_text="From this moment on.")
    until = serializers.DateTimeField(required=False, help_text="Before this moment.")


class AuditActor(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=list(ActorKind), source="actor_kind")
    id = serializers.UUIDField(
        source="actor_id", allow_null=True, help_text="Of the person; with a key, whose key it is."
    )
    key = serializers.UUIDField(source="key_id", allow_null=True)


class AuditObject(serializers.Serializer[Any]):
    type = serializers.CharField(source="object_type")
    id = serializers.CharField(source="object_id")
    name = serializers.CharField(source="object_name", help_text="What it was called then; empty when that was erased.")


class AuditOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    at = serializers.DateTimeField(source="created_at")
    action = serializers.ChoiceField(choices=list(ACTIONS))
    outcome = serializers.ChoiceField(choices=list(Outcome))
    actor = AuditActor(source="*")
    object = AuditObject(source="*")
    details = serializers.DictField()
    request_id = serializers.CharField()
    ip = serializers.IPAddressField(allow_null=True)
    user_agent = serializers.CharField()
    number = serializers.IntegerField(allow_null=True, help_text="Its place in the chain; null until it is sealed.")
    seal = serializers.IntegerField(source="seal_id", allow_null=True)


class AuditView(ApiView):
    """GET /api/audit"""

    scopes = ACCOUNT
    filter_names = frozenset(_FILTERS)
    _PAGING: Final = ("limit", "cursor", "order")

    @extend_schema(
        operation_id="audit_list",
        parameters=[
            AuditQuery,
            OpenApiParameter("limit", int, description="1 to 200"),
            OpenApiParameter("cursor", str, description="From `next` or `previous`"),
        ],
        responses=AuditOut(many=True),
        description="What was done, newest first; for staff who may view the audit log, everybody else is refused (403). What was "
        "written less than a minute ago may not be sealed yet, and what is written at the same time may appear a little later.",
    )
    def get(self, request: Request) -> Response:
        if not (self.user.is_staff and self.user.has_perm("accounts.view_auditentry")):
            raise Forbidden("The audit log is for staff.", code="staff_only")
        asked = {name: value for name, value in request.query_params.dict().items() if name not in self._PAGING}
        return self.paginated(_found(self.validated(AuditQuery, asked)), AuditOut)


def _found(query: dict[str, Any]) -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(**{_FILTERS[name]: value for name, value in query.items()})


urlpatterns = [*route("audit", AuditView, "audit")]
