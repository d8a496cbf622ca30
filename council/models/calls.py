"""What models were asked, what they answered, and what it cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from council.models.rounds import Turn
from council.models.sessions import CouncilSession
from realtime.ids import uuid7
from realtime.states import one_of


def _usd(**options: Any) -> models.DecimalField[Any, Any]:
    """US dollars to the nano: a token of a small model costs less than a millionth."""
    return models.DecimalField(max_digits=18, decimal_places=9, **options)


def _seconds(**options: Any) -> models.DecimalField[Any, Any]:
    """Seconds that models worked, to the millisecond."""
    return models.DecimalField(max_digits=12, decimal_places=3, **options)


_POSITIVE = [MinValueValidator(Decimal("0.001"))]


class Purse(models.Model):
    """What may be spent, is reserved and was used. A limit of null is none.

    Rows of their own, last in the lock order (the session's, then its owner's), changed only by single conditional updates.
    """

    tokens_limit = models.PositiveBigIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    tokens_reserved = models.PositiveBigIntegerField(default=0)
    tokens_used = models.PositiveBigIntegerField(default=0)
    usd_limit = _usd(null=True, blank=True, validators=_POSITIVE)
    usd_reserved = _usd(default=0)
    usd_used = _usd(default=0)
    calls_limit = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    calls_reserved = models.PositiveIntegerField(default=0)
    calls = models.PositiveIntegerField(default=0)
    seconds_limit = _seconds(null=True, blank=True, validators=[MinValueValidator(1)])
    seconds_reserved = _seconds(default=0)
    seconds_used = _seconds(default=0)

    class Meta:
        abstract = True


class Budget(Purse):
    """Of one session."""

    session = models.OneToOneField(CouncilSession, primary_key=True, on_delete=models.CASCADE, related_name="budget")
    warned = models.BooleanField(default=False)  # budget.warning is said once

    def __str__(self) -> str:
        return f"{self.tokens_used} of {self.tokens_limit or 'unlimited'} tokens"


class DailyBudget(Purse):
    """Of one person and day (UTC), over all sessions. Who has no row has no limit, and pays nothing for keeping count."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="daily_budget"
    )
    day = models.DateField(editable=False)  # of what was used; what is reserved carries over midnight

    def __str__(self) -> str:
        return f"daily budget of {self.user}"


class LlmCall(models.Model):
    """One call of a model, inserted with its reservation before the call and settled after it; orphans are charged in full."""

    class Status(models.TextChoices):
        RUNNING = "running"
        OK = "ok"
        ERROR = "error"
        CANCELLED = "cancelled"
        LOST = "lost"  # the worker died; what the provider did is unknown, so the reservation is charged

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(CouncilSession, on_delete=models.CASCADE, related_name="llm_calls")
    turn = models.ForeignKey(Turn, on_delete=models.CASCADE, related_name="llm_calls")
    attempt = models.PositiveSmallIntegerField()
    ordinal = models.PositiveSmallIntegerField()  # within the attempt; guided turns make several
    field = models.CharField(max_length=40)
    model = models.CharField(max_length=120)
    profile = models.CharField(max_length=50, blank=True)  # its slug; empty is the default endpoint
    system = models.TextField()
    user = models.TextField()
    schema = models.JSONField(null=True)
    response = models.TextField(blank=True)
    status = models.CharField(max_length=16, choices=Status, default=Status.RUNNING)
    error = models.CharField(max_length=64, blank=True)
    error_detail = models.CharField(max_length=500, blank=True)
    tokens_reserved = models.PositiveIntegerField()
    prompt_tokens = models.PositiveIntegerField(default=0)
    completion_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)  # of the prompt's
    usd_reserved = _usd(default=0)
    usd = _usd(default=0)  # at the prices of that moment; 0 where the model has none
    seconds_reserved = _seconds(default=0)
    seconds = _seconds(default=0)
    estimated = models.BooleanField(default=False)  # the server reported no usage
    ttft_ms = models.FloatField(null=True)
    latency_ms = models.FloatField(null=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["started_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["turn", "attempt", "ordinal"], name="llm_call_unique"),
            one_of("llm_call_status_known", "status", ["running", "ok", "error", "cancelled", "lost"]),
        ]
        indexes = [
            models.Index(fields=["turn"], condition=Q(status="running"), name="llm_call_running"),
            models.Index(fields=["started_at"], name="llm_call_started"),  # spend by day
        ]

    def __str__(self) -> str:
        return f"{self.field} on {self.model}"
