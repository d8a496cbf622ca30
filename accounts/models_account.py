"""A person's way out: what they take with them, and that they go."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from realtime.ids import uuid7
from realtime.states import one_of


class AccountExport(models.Model):
    """Everything of a person's as one file, made by a worker (``accounts.exports``). The row is the queue: a lease that ran out, or an
    export that nobody was told of, is found by the sweeper."""

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        READY = "ready"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="account_exports")
    status = models.CharField(max_length=7, choices=Status, default=Status.QUEUED)
    error = models.CharField(max_length=300, blank=True)
    path = models.CharField(max_length=100, blank=True)  # under DATA_DIR/account-exports
    size = models.BigIntegerField(default=0)  # bytes
    attempt = models.PositiveSmallIntegerField(default=0)
    lease_token = models.BigIntegerField(default=0)  # fencing: the holder of an older one may not conclude
    lease_expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True, db_index=True)  # then row and file go

    class Meta:
        constraints = [
            one_of("account_export_status_known", "status", ["queued", "running", "ready", "failed"]),
            models.UniqueConstraint(
                fields=["user"], condition=Q(status__in=["queued", "running"]), name="account_export_one_open"
            ),
            models.CheckConstraint(
                name="account_export_ends",
                condition=Q(status__in=["queued", "running"], expires_at=None)
                | Q(status__in=["ready", "failed"], expires_at__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=["id"], name="account_export_queue", condition=Q(status__in=["queued", "running"]))
        ]

    def __str__(self) -> str:
        return f"export of {self.user_id}: {self.status}"


class Departure(models.Model):
    """Somebody who wants their account to be deleted. Until ``due_at`` it can be called off, and then it is purged in steps
    (``accounts.departures``); the row goes with its user, last of all."""

    class State(models.TextChoices):
        ASKED = "asked"
        PURGING = "purging"  # there is no way back

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="departure"
    )
    state = models.CharField(max_length=7, choices=State, default=State.ASKED)
    asked_at = models.DateTimeField(auto_now_add=True)
    due_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [one_of("departure_state_known", "state", ["asked", "purging"])]

    def __str__(self) -> str:
        return f"departure of {self.user_id}: {self.state}, due {self.due_at:%Y-%m-%d %H:%M}"
