"""Webhooks: where people want to be told by a request of ours, and every message that goes there (``accounts.webhooks``)."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from realtime.ids import uuid7


class WebhookEndpoint(models.Model):
    """An address of somebody's. ``cursor`` is the number of the last event of their own stream that it has been told of, or that was
    not for it: what comes behind it is still to be made into deliveries, so that a change costs nothing at the time it happens."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=2000)
    events = ArrayField(models.CharField(max_length=40))
    description = models.CharField(max_length=200, blank=True)
    sealed_secret = models.TextField(editable=False)
    sealed_previous = models.TextField(blank=True, editable=False)  # signs as well until ``previous_until``
    previous_until = models.DateTimeField(null=True, editable=False)
    rotated_at = models.DateTimeField(null=True, editable=False)
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=20, blank=True)  # owner, staff, gone, failing; empty while enabled
    cursor = models.BigIntegerField(default=0, editable=False)
    failures = models.PositiveIntegerField(default=0, editable=False)  # failed attempts since the last that succeeded
    failing_since = models.DateTimeField(null=True, editable=False)
    not_before = models.DateTimeField(default=timezone.now, editable=False)  # a pause after a failure
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="webhook_reason_when_disabled", condition=Q(enabled=True) ^ ~Q(disabled_reason="")
            ),
            models.CheckConstraint(
                name="webhook_previous_ends",
                condition=Q(sealed_previous="", previous_until=None)
                | (~Q(sealed_previous="") & Q(previous_until__isnull=False)),
            ),
        ]

    def __str__(self) -> str:
        return f"webhook of {self.user_id}"


class DeliveryState(models.TextChoices):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookDelivery(models.Model):
    """One message for one endpoint. Its id is the ``webhook-id`` of every attempt. It is pending until the receiver has taken it or no
    attempt is left; whoever sends it holds a lease, and what a dead worker held is sent again."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    event = models.BigIntegerField(null=True, editable=False)  # its number in the owner's stream; null: a test
    type = models.CharField(max_length=40)
    payload = models.JSONField()  # {type, timestamp, data}, as it is sent each time
    state = models.CharField(max_length=9, choices=DeliveryState, default=DeliveryState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now, null=True)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, editable=False)
    last_attempt_at = models.DateTimeField(null=True)
    status = models.PositiveSmallIntegerField(null=True)  # the receiver's last
    error = models.CharField(max_length=200, blank=True)  # why the last attempt failed
    response = models.CharField(max_length=1024, blank=True)  # how the receiver's last answer began
    response_ms = models.PositiveIntegerField(null=True)
    delivered_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "event"], name="webhook_event_once"),
            models.CheckConstraint(name="webhook_delivery_state", condition=Q(state__in=DeliveryState.values)),
            models.CheckConstraint(
                name="webhook_pending_has_next",
                condition=Q(state="pending", next_attempt_at__isnull=False)
                | (~Q(state="pending") & Q(next_attempt_at=None)),
            ),
            models.CheckConstraint(
                name="webhook_lease_whole",
                condition=Q(lease_token=None, lease_expires_at=None)
                | Q(lease_token__isnull=False, lease_expires_at__isnull=False, state="pending"),
            ),
        ]
        indexes = [
            models.Index(fields=["next_attempt_at"], name="webhook_due", condition=Q(state="pending")),
            models.Index(fields=["endpoint", "-created_at", "-id"], name="webhook_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.type}: {self.state}"
