"""What a run concluded, and what that stands on."""

from __future__ import annotations

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from council.deliberation.types import Outcome
from council.models.rounds import Run
from knowledge.models import EntryRevision
from realtime.ids import uuid7
from realtime.states import one_of


class Decision(models.Model):
    """Computed from the stored ballots and seeds; ``manage.py recount`` computes it again and must agree."""

    class Source(models.TextChoices):
        CHAIR = "chair"
        STAND_IN = "stand_in"  # the chair failed, the next seat wrote
        VERBATIM = "verbatim"  # nobody could write: the top answer as it was given

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="decision")
    outcome = models.CharField(max_length=16, choices=[(outcome.value, outcome.value) for outcome in Outcome])
    answer = models.TextField()
    source = models.CharField(max_length=16, choices=Source)
    option = models.TextField(null=True, blank=True)  # noqa: DJ001  # null = open question or no consensus; "" could be neither
    confidence = models.FloatField(null=True)  # mean stated confidence of the winner's supporters
    decided_by = models.CharField(max_length=32, blank=True)
    margin = models.PositiveSmallIntegerField(null=True)  # null = more than 2 ballots, or nothing to vote on
    too_close = models.BooleanField(default=False)
    agreement = models.JSONField(default=dict, encoder=DjangoJSONEncoder)  # {opening, final, kendall_w}
    rules = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    dissent = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    flips = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    ratification = models.JSONField(null=True)  # {accepted, rejected, ratified, revised}; null = nobody was asked
    exchange = models.JSONField(default=list)  # what seats asked each other: [{round, from, to, question, reply}]
    missing = models.JSONField(default=list, encoder=DjangoJSONEncoder)  # [{seat, name, stage, error}]
    notes = models.JSONField(default=list)  # sentences that stand above a degraded answer
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [one_of("decision_outcome_known", "outcome", [outcome.value for outcome in Outcome])]

    def __str__(self) -> str:
        return f"{self.outcome}: {self.answer[:60]}"


class Citation(models.Model):
    """One ``[n]`` of a decision. Points at an immutable revision by character span, so re-chunking and later edits break none."""

    class Status(models.TextChoices):
        VERIFIED = "verified"
        UNSUPPORTED = "unsupported"  # it exists and was shown, but does not bear the sentence out
        MISSING = "missing"  # no such evidence was shown to the writer

    id = models.BigAutoField(primary_key=True)
    decision = models.ForeignKey(Decision, on_delete=models.CASCADE, related_name="citations")
    n = models.PositiveSmallIntegerField()
    revision = models.ForeignKey(EntryRevision, null=True, on_delete=models.PROTECT, related_name="+")
    passage = models.CharField(max_length=64, blank=True)  # informative: passages come and go with the chunker
    start = models.PositiveIntegerField(null=True)
    end = models.PositiveIntegerField(null=True)
    quote = models.TextField(blank=True)
    quote_hash = models.CharField(max_length=64, blank=True)  # SHA-256, hex
    status = models.CharField(max_length=16, choices=Status)
    reason = models.CharField(max_length=300, blank=True)
    similarity = models.FloatField(null=True)  # cosine with the passage, where words alone did not settle it
    snapshot = models.UUIDField(null=True)  # that the session pinned; kept by name, for it goes when its pack is purged
    snapshot_label = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering = ["n", "id"]
        constraints = [one_of("citation_status_known", "status", ["verified", "unsupported", "missing"])]

    def __str__(self) -> str:
        return f"[{self.n}] {self.status}"
