"""Webhooks in the admin: to read, and to switch off. Addresses are shown by their host, for a path may hold a token."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from accounts.models import WebhookDelivery, WebhookEndpoint
from accounts.webhooks import endpoints


class _ToRead(ModelAdmin):
    """Deleting is left possible only with the account, or no user could be deleted."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(_ToRead):
    list_display = ("host", "user", "events", "enabled", "disabled_reason", "failures", "failing_since", "created_at")
    list_filter = ("enabled", "disabled_reason", "created_at")
    list_select_related = ("user",)
    search_fields = ("user__email",)
    ordering = ("-created_at", "-id")
    fields = ("host", "user", "events", "description", "enabled", "disabled_reason", "failures", "failing_since",
              "not_before", "cursor", "rotated_at", "previous_until", "created_at")  # fmt: skip
    actions = ("disable", "enable")

    @admin.display(description="host")
    def host(self, endpoint: WebhookEndpoint) -> str:
        return endpoints.host_of(endpoint.url)

    @admin.action(description="Switch the selected webhooks off; their owners are told", permissions=["switch"])
    def disable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset:
            endpoints.disable_by_staff(endpoint.pk)
        messages.success(request, f"{len(queryset)} webhooks are off.")

    @admin.action(description="Switch the selected webhooks on", permissions=["switch"])
    def enable(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset:
            endpoints.enable_by_staff(endpoint.pk)
        messages.success(request, f"{len(queryset)} webhooks are on.")

    def has_switch_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_webhookendpoint")


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(_ToRead):
    list_display = (
        "created_at",
        "type",
        "host",
        "state",
        "attempts",
        "status",
        "error",
        "response_ms",
        "next_attempt_at",
    )
    list_filter = ("state", "type", "created_at")
    list_select_related = ("endpoint",)
    search_fields = ("=id", "=endpoint__id", "endpoint__user__email")
    ordering = ("-created_at", "-id")
    show_full_result_count = False
    fields = ("id", "host", "type", "payload", "state", "attempts", "status", "error", "response_ms", "last_attempt_at",
              "next_attempt_at", "delivered_at", "created_at")  # fmt: skip

    @admin.display(description="host")
    def host(self, delivery: WebhookDelivery) -> str:
        return endpoints.host_of(delivery.endpoint.url)
