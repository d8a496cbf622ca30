"""What models were asked, what they answered, and what it cost."""

from __future__ import annotations

from django.db import models

from council.models.rounds import Turn
from council.models.sessions import CouncilSession
from realtime.ids import uuid7
from realtime.states import one_of


class Budget(models.Model):
    """Tokens of one session. A row of its own, last in the lock order, changed only by single conditional updates."""

    session = models.OneToOneField(CouncilSession, primary_key=True, on_delete=models.CASCADE, related_name="budget")
    tokens_limit = models.PositiveBigIntegerField(null=True, blank=True)  # null = unlimited
    tokens_reserved = models.PositiveBigIntegerField(default=0)
    tokens_used = models.PositiveBigIntegerField(default=0)
    calls = models.PositiveIntegerField(default=0)
    warned = models.BooleanField(default=False)  # budget.warning is said once

    def __str__(self) -> str:
        return f"{self.tokens_used} of {self.tokens_limit or 'unlimited'} tokens"


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
        indexes = [models.Index(fields=["turn"], condition=models.Q(status="running"), name="llm_call_running")]

    def __str__(self) -> str:
        return f"{self.field} on {self.model}"
