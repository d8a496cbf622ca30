"""One's webhooks: ``/api/me/webhooks``. With a key this needs the scope ``admin``."""

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

from accounts.api import conditions
from accounts.api.urls import route
from accounts.api.views import ApiView
from accounts.models import WebhookDelivery, WebhookEndpoint
from accounts.models_webhooks import DeliveryState
from accounts.scopes import ACCOUNT
from accounts.webhooks import endpoints, kinds
from realtime.addresses import URL_MAX

Json = dict[str, Any]
_URL = "https, on port 443 or 8443, of a host on the public internet. No redirect is followed."


class EventsField(serializers.ListField):
    child = serializers.ChoiceField(choices=kinds.CHOICES)


class WebhookIn(serializers.Serializer[Any]):
    url = serializers.CharField(max_length=URL_MAX, help_text=_URL)
    events = EventsField(allow_empty=False, max_length=len(kinds.CHOICES), help_text="`session.*` is all of councils.")
    description = serializers.CharField(max_length=endpoints.DESCRIPTION_MAX, required=False, allow_blank=True)


class WebhookPatch(WebhookIn):
    enabled = serializers.BooleanField(
        required=False, help_text="true: told again, of what happens from now on; what was waiting goes out."
    )


class WebhookRotateIn(serializers.Serializer[Any]):
    overlap_s = serializers.IntegerField(
        min_value=0,
        max_value=int(endpoints.OVERLAP_MAX.total_seconds()),
        default=int(endpoints.OVERLAP.total_seconds()),
        help_text="For how many seconds the old secret signs as well.",
    )


_COLUMNS = (
    "id", "url", "events", "description", "enabled", "disabled_reason", "failures", "failing_since", "rotated_at", "created_at", "version",
)  # fmt: skip


class WebhookOut(serializers.Serializer[WebhookEndpoint]):
    id = serializers.UUIDField()
    url = serializers.CharField()
    events = EventsField()
    description = serializers.CharField()
    enabled = serializers.BooleanField()
    disabled_reason = serializers.ChoiceField(
        choices=("", *endpoints.REASONS),
        help_text="gone: the receiver answered 410; failing: nothing got through for a day.",
    )
    failures = serializers.IntegerField(help_text="Failed attempts since the last that succeeded.")
    failing_since = serializers.DateTimeField(allow_null=True)
    previous_until = serializers.DateTimeField(
        allow_null=True, help_text="Until when the secret before the present one signs as well; null when none does."
    )
    rotated_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    version = serializers.IntegerField()

    def to_representation(self, instance: WebhookEndpoint) -> Json:
        until = instance.previous_until
        overlaps = until is not None and until > timezone.now()
        return {
            **{name: getattr(instance, name) for name in _COLUMNS},
            "previous_until": until if overlaps else None,
        }


class NewWebhookOut(WebhookOut):
    secret = serializers.CharField(
        allow_null=True,
        help_text="`whsec_…`, shown in this answer alone. null when a request is repeated under its Idempotency-Key.",
    )


class DeliveryOut(serializers.Serializer[WebhookDelivery]):
    id = serializers.UUIDField(help_text="`webhook-id` is `msg_` and this without its dashes.")
    type = serializers.ChoiceField(choices=kinds.TYPES)
    payload = serializers.DictField(help_text="The body as it is sent each time.")
    state = serializers.ChoiceField(choices=DeliveryState.choices)
    attempts = serializers.IntegerField()
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    last_attempt_at = serializers.DateTimeField(allow_null=True)
    status = serializers.IntegerField(allow_null=True, help_text="What the receiver answered last; null: nothing.")
    error = serializers.CharField(
        help_text="Why the last attempt failed; `access_lost`: it was not one's to know any more."
    )
    response = serializers.CharField(help_text="The first 1,024 bytes of the receiver's last answer.")
    response_ms = serializers.IntegerField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()


class _ShowsSecret(ApiView):
    """Answers that hold a secret: kept by no cache, and without it for repetitions."""

    scopes = ACCOUNT

    def shown_once(self, endpoint: WebhookEndpoint, secret: str, status: int) -> Response:
        headers = {"Cache-Control": "no-store", "ETag": conditions.etag(endpoint.version)}
        return Response({**WebhookOut(endpoint).data, "secret": secret}, status=status, headers=headers)

    def repeated(self, data: Any) -> Any:
        return {**data, "secret": None} if "secret" in data else data


class WebhookListView(_ShowsSecret):
    """GET and POST /api/me/webhooks"""

    @extend_schema(operation_id="me_webhooks_list", responses=WebhookOut(many=True))
    def get(self, request: Request) -> Response:
        return self.paginated(self.user.webhooks.all(), WebhookOut)

    @extend_schema(
        operation_id="me_webhooks_create",
        request=WebhookIn,
        responses={201: NewWebhookOut},
        description=f"Told of what happens from now on. {_URL} An address that may not be asked is 400 `address_blocked`; a person has at "
        f"most {endpoints.ENDPOINTS_MAX} webhooks (409 `too_many_webhooks`).",
    )
    def post(self, request: Request) -> HttpResponseBase:
        endpoint, secret = endpoints.create(self.user, **self.validated(WebhookIn))
        return self.shown_once(endpoint, secret, 201)


class WebhookView(ApiView):
    """GET, PATCH and DELETE /api/me/webhooks/{id}"""

    scopes = ACCOUNT

    @extend_schema(operation_id="me_webhooks_retrieve", responses=WebhookOut)
    def get(self, request: Request, pk: UUID) -> Response:
        return self._answer(endpoints.one_of(self.user, pk))

    @extend_schema(
        operation_id="me_webhooks_update",
        request=WebhookPatch,
        responses=WebhookOut,
        description="What staff have switched off stays off (403 `disabled_by_staff`).",
    )
    def patch(self, request: Request, pk: UUID) -> Response:
        endpoints.one_of(self.user, pk)
        changes = self.validated(WebhookPatch, partial=True)
        return self._answer(endpoints.change(self.user, pk, changes, self.check_if_match))

    @extend_schema(
        operation_id="me_webhooks_delete",
        responses={204: None},
        description="With all of its deliveries; what was waiting is not sent.",
    )
    def delete(self, request: Request, pk: UUID) -> Response:
        endpoints.delete(self.user, pk, self.check_if_match)
        return Response(status=204)

    def _answer(self, endpoint: WebhookEndpoint) -> Response:
        """Never 304: attempts change what is shown, and no version."""
        return Response(WebhookOut(endpoint).data, headers={"ETag": conditions.etag(endpoint.version)})


class WebhookRotateView(_ShowsSecret):
    """POST /api/me/webhooks/{id}/rotate"""

    @extend_schema(
        operation_id="me_webhooks_rotate",
        request=WebhookRotateIn,
        responses={200: NewWebhookOut},
        description="A new secret. For `overlap_s`, a day by default and 7 days at most, messages are signed with both; a still older one "
        "ends at once.",
    )
    def post(self, request: Request, pk: UUID) -> HttpResponseBase:
        endpoints.one_of(self.user, pk)
        overlap = timedelta(seconds=self.validated(WebhookRotateIn, request.data or {})["overlap_s"])
        endpoint, secret = endpoints.rotate(self.user, pk, overlap, self.check_if_match)
        return self.shown_once(endpoint, secret, 200)


class WebhookTestView(ApiView):
    """POST /api/me/webhooks/{id}/test"""

    scopes = ACCOUNT

    @extend_schema(
        operation_id="me_webhooks_test",
        request=None,
        responses={202: DeliveryOut},
        description="Sends a message of type `webhook.test`, soon; what comes of it is among the deliveries. 409 `webhook_disabled`.",
    )
    def post(self, request: Request, pk: UUID) -> Response:
        return Response(DeliveryOut(endpoints.send_test(self.user, pk)).data, status=202)


class DeliveryListView(ApiView):
    """GET /api/me/webhooks/{id}/deliveries"""

    scopes = ACCOUNT
    filter_names = frozenset({"state"})

    @extend_schema(
        operation_id="me_webhooks_deliveries_list",
        responses=DeliveryOut(many=True),
        parameters=[OpenApiParameter("state", enum=DeliveryState.values)],
        description="Newest first, of the last 30 days.",
    )
    def get(self, request: Request, pk: UUID) -> Response:
        return self.paginated(endpoints.deliveries_of(self.user, pk, request.query_params.get("state")), DeliveryOut)


class ReplayView(ApiView):
    """POST /api/me/webhooks/{id}/deliveries/{delivery}/replay"""

    scopes = ACCOUNT

    @extend_schema(
        operation_id="me_webhooks_deliveries_replay",
        request=None,
        responses={202: DeliveryOut},
        description="Sends it again, under the same `webhook-id` and with all its attempts. 409 `delivery_pending`, `webhook_disabled`.",
    )
    def post(self, request: Request, pk: UUID, delivery_id: UUID) -> Response:
        return Response(DeliveryOut(endpoints.replay(self.user, pk, delivery_id)).data, status=202)


urlpatterns = [
    *route("me/webhooks", WebhookListView, "me-webhooks"),
    *route("me/webhooks/<uuid:pk>", WebhookView, "me-webhook"),
    *route("me/webhooks/<uuid:pk>/rotate", WebhookRotateView, "me-webhook-rotate"),
    *route("me/webhooks/<uuid:pk>/test", WebhookTestView, "me-webhook-test"),
    *route("me/webhooks/<uuid:pk>/deliveries", DeliveryListView, "me-webhook-deliveries"),
    *route("me/webhooks/<uuid:pk>/deliveries/<uuid:delivery_id>/replay", ReplayView, "me-webhook-replay"),
]
