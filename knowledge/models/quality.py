"""What tells curators how good a pack is: golden questions, evaluations, and what people searched for."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from knowledge.models.entries import Entry
from knowledge.models.packs import KnowledgePack
from knowledge.models.snapshots import Snapshot
from knowledge.states import EVALUATION_TRANSITIONS, EvaluationStatus
from realtime.ids import uuid7
from realtime.states import one_of, state_machine


class GoldenQuestion(models.Model):
    """A question, and the entries that a search for it should find."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="golden_questions")
    question = models.CharField(max_length=1000)
    expected = models.ManyToManyField(Entry, related_name="golden_questions")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["pack", "question"], name="golden_question_once")]

    def __str__(self) -> str:
        return self.question


class Evaluation(models.Model):
    """One run of a pack's golden questions."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="evaluations", db_index=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    mode = models.CharField(max_length=8)
    index_epoch = models.BigIntegerField()  # of the pack when it was run
    questions = models.PositiveIntegerField()
    ndcg_10 = models.FloatField()
    recall_10 = models.FloatField()
    mrr = models.FloatField()
    results = models.JSONField(default=list)  # [{question, expected, found, ndcg, recall, rr}]

    class Meta:
        indexes = [models.Index(fields=["pack", "-created_at", "-id"], name="evaluation_pack_created")]

    def __str__(self) -> str:
        return f"nDCG@10 {self.ndcg_10:.3f}"


class EvaluationJob(models.Model):
    """An evaluation that waits for a worker, is under way or has failed. When it is finished an ``Evaluation`` takes its id."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="evaluation_jobs")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    mode = models.CharField(max_length=8)
    status = models.CharField(max_length=7, choices=EvaluationStatus, default=EvaluationStatus.QUEUED)
    error = models.TextField(blank=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    lease_token = models.BigIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["id"],
                name="evaluation_queue",
                condition=Q(status__in=[EvaluationStatus.QUEUED, EvaluationStatus.RUNNING]),
            )
        ]
        constraints = [one_of("evaluation_job_status_known", "status", EvaluationStatus.values)]
        triggers = [state_machine("evaluation_job_fsm", EVALUATION_TRANSITIONS)]

    def __str__(self) -> str:
        return f"{self.mode}: {self.status}"


class SearchLog(models.Model):
    """One search, as people made it. Kept for ``SEARCH_LOG_DAYS``."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="searches", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    snapshot = models.ForeignKey(Snapshot, null=True, on_delete=models.SET_NULL, related_name="+")
    origin = models.CharField(max_length=8, default="person")  # person or council
    query = models.CharField(max_length=2000)
    mode = models.CharField(max_length=8)
    path = models.CharField(max_length=20, blank=True)  # how the dense half was carried out: exact, hnsw, none
    hits = models.PositiveIntegerField()  # found above no threshold of relevance
    best = models.FloatField(null=True)  # the first hit's score
    took_ms = models.FloatField()
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["pack", "-at"], name="search_pack_at")]

    def __str__(self) -> str:
        return self.query


class EntryUse(models.Model):
    """How often an entry was found and cited, for the review queue; counted in the background."""

    entry = models.OneToOneField(Entry, on_delete=models.CASCADE, primary_key=True, related_name="use")
    retrieved = models.PositiveIntegerField(default=0)
    retrieved_at = models.DateTimeField(null=True)
    cited = models.PositiveIntegerField(default=0)
    cited_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.entry_id}: {self.retrieved} times found, {self.cited} times cited"
