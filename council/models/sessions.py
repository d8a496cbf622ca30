"""What a user opens: the session with its seats, messages and event log."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from council.models.templates import CouncilTemplate, TemplateVersion
from council.states import SESSION_TRANSITIONS, SessionStatus
from knowledge.models import KnowledgePack, Snapshot
from realtime.ids import uuid7
from realtime.models import Event, Stream
from realtime.states import one_of, state_machine


class CouncilSession(Stream):
    """A council and its question. Mirrors the status of its latest run; its row lock serialises everything that changes it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="council_sessions")
    title = models.CharField(max_length=200)
    question = models.TextField()
    options = models.JSONField(default=list, blank=True)  # texts of a closed question's options; [] = open
    status = models.CharField(max_length=16, choices=SessionStatus, default=SessionStatus.DRAFT)
    protocol = models.JSONField(default=dict)  # resolved: every field of deliberation.types.Protocol
    packs = models.ManyToManyField(KnowledgePack, blank=True, related_name="council_sessions", through="SessionPack")
    template = models.ForeignKey(CouncilTemplate, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    template_version = models.PositiveIntegerField(null=True, blank=True)
    template_ran = models.ForeignKey(TemplateVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    forked_from = models.JSONField(null=True, blank=True)  # forks.Origin; null = made anew
    excluded_entries = models.JSONField(default=list, blank=True)  # ids of entries that no search of this council finds
    reason = models.CharField(max_length=64, blank=True)  # why the latest run failed or was stopped
    round = models.PositiveSmallIntegerField(default=0)  # number of the latest run's latest round
    version = models.PositiveIntegerField(default=1)  # the ETag; counts people's edits and changes of status
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [one_of("session_status_known", "status", SessionStatus.values)]
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="session_owner_newest"),
            models.Index(fields=["id"], condition=models.Q(status="running"), name="session_running"),
            models.Index(fields=["created_at"], condition=models.Q(status="draft"), name="session_drafts"),
        ]
        triggers = [state_machine("session_transitions", SESSION_TRANSITIONS)]

    def __str__(self) -> str:
        return self.title


class SessionPack(models.Model):
    """A pack that a council reads: as it is at the time of each search, or as one of its snapshots has it."""

    id = models.BigAutoField(primary_key=True)
    councilsession = models.ForeignKey(CouncilSession, on_delete=models.CASCADE, related_name="pack_pins")
    knowledgepack = models.ForeignKey(KnowledgePack, on_delete=models.CASCADE, related_name="+")
    # Restricted: a decision is to be read again against what was known. With the whole pack it may go.
    snapshot = models.ForeignKey(Snapshot, null=True, blank=True, on_delete=models.RESTRICT, related_name="+")

    class Meta:
        db_table = "council_councilsession_packs"
        unique_together = [("councilsession", "knowledgepack")]

    def __str__(self) -> str:
        return f"{self.knowledgepack_id} at {self.snapshot_id or 'today'}"


class SessionEvent(Event):
    pk = models.CompositePrimaryKey("stream_id", "seq")
    stream = models.ForeignKey(CouncilSession, on_delete=models.CASCADE, related_name="events")


class Seat(models.Model):
    """A place at the table. Two seats on one model stay two seats: nothing is ever keyed by model."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(CouncilSession, on_delete=models.CASCADE, related_name="seats")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=80)
    role = models.CharField(max_length=200, blank=True)
    instructions = models.TextField(blank=True)
    model = models.CharField(max_length=120, blank=True)  # empty = the default model
    chair = models.BooleanField(default=False)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["session", "position"], name="seat_position_unique"),
            models.UniqueConstraint(fields=["session"], condition=models.Q(chair=True), name="seat_one_chair"),
        ]

    def __str__(self) -> str:
        return self.name


class Message(models.Model):
    """What a person says to a council. Delivered at a stage boundary: ``delivered_in`` is the first round whose seats read it.

    One that is addressed to a ``seat`` is read by that seat alone, in the ``turn`` that replies to it.
    """

    class Kind(models.TextChoices):
        EVIDENCE = "evidence"
        CONSTRAINT = "constraint"
        QUESTION = "question"
        NOTE = "note"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(CouncilSession, on_delete=models.CASCADE, related_name="messages")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.NOTE)
    content = models.TextField()
    interrupt = models.BooleanField(default=False)
    delivered_in = models.ForeignKey("council.Round", null=True, on_delete=models.SET_NULL, related_name="messages")
    seat = models.ForeignKey(Seat, null=True, on_delete=models.CASCADE, related_name="questions")
    turn = models.OneToOneField("council.Turn", null=True, on_delete=models.CASCADE, related_name="question")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [one_of("message_kind_known", "kind", ["evidence", "constraint", "question", "note"])]

    def __str__(self) -> str:
        return f"{self.kind}: {self.content[:60]}"
