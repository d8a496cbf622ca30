"""How a run proceeds: rounds, the turns in them and the ballots that turns cast."""

from __future__ import annotations

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from council.deliberation.types import Stage, TurnKind
from council.models.sessions import CouncilSession, Seat
from council.states import RUN_TRANSITIONS, TURN_TRANSITIONS, RunStatus, TurnStatus
from realtime.ids import uuid7
from realtime.states import one_of, state_machine

STAGES = [(stage.value, stage.value) for stage in Stage]
TURN_KINDS = [(kind.value, kind.value) for kind in TurnKind]


class Run(models.Model):
    """One pass over the question: a start or a follow-up. Keeps what it ran with, so that later edits cannot change history."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(CouncilSession, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveSmallIntegerField()
    status = models.CharField(max_length=16, choices=RunStatus, default=RunStatus.RUNNING)
    protocol = models.JSONField()
    seed = models.BigIntegerField()  # of every order and tie-break; recorded, never drawn again
    exhausted = models.CharField(max_length=16, blank=True)  # "deadline" | "budget": why it was cut short
    reason = models.CharField(max_length=64, blank=True)  # why it failed
    origin = models.JSONField(
        null=True, blank=True
    )  # what it was carried over from: carrying.Origin; null = begun anew
    deadline_at = models.DateTimeField()
    started_at = models.DateTimeField()
    paused_at = models.DateTimeField(null=True, blank=True)  # since when it is paused
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["session", "number"], name="run_number_unique"),
            models.UniqueConstraint(
                fields=["session"], condition=models.Q(status__in=["running", "paused"]), name="run_one_open"
            ),
            one_of("run_status_known", "status", RunStatus.values),
        ]
        indexes = [models.Index(fields=["deadline_at"], condition=models.Q(status="running"), name="run_deadline")]
        triggers = [state_machine("run_transitions", RUN_TRANSITIONS)]

    def __str__(self) -> str:
        return f"run {self.number}"


class Round(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="rounds")
    number = models.PositiveSmallIntegerField()
    stage = models.CharField(max_length=16, choices=STAGES)
    sealed = models.BooleanField(
        default=False
    )  # a person sits here: answers and verdicts stay sealed until it is closed
    tally = models.JSONField(null=True, encoder=DjangoJSONEncoder)  # deliberation.types.Tally, once counted
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["run", "number"], name="round_number_unique"),
            models.UniqueConstraint(fields=["run"], condition=models.Q(closed_at=None), name="round_one_open"),
            one_of("round_stage_known", "stage", [stage.value for stage in Stage]),
        ]

    def __str__(self) -> str:
        return f"round {self.number}: {self.stage}"


class Turn(models.Model):
    """One seat asked once (or, without a seat, one tally). The pending row is the outbox: whoever finds it may claim it.

    ``attempt`` counts claims; ``lease_token`` fences: a worker whose token is no longer here lost the turn and its result is
    discarded. ``model_errors`` counts only the model's own failures, so that a crash of ours never poisons a turn.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    session = models.ForeignKey(CouncilSession, on_delete=models.CASCADE, related_name="turns")
    round = models.ForeignKey(Round, on_delete=models.CASCADE, related_name="turns")
    seat = models.ForeignKey(Seat, null=True, on_delete=models.RESTRICT, related_name="turns")
    kind = models.CharField(max_length=16, choices=TURN_KINDS)
    human = models.BooleanField(default=False)  # waits for a person: no worker takes it, and it is not sent to any
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    seen_at = models.DateTimeField(
        null=True, blank=True
    )  # when a person first read it: ``evidence`` is fixed from then on
    ordinal = models.PositiveSmallIntegerField(default=0)
    status = models.CharField(max_length=16, choices=TurnStatus, default=TurnStatus.PENDING)
    attempt = models.PositiveSmallIntegerField(default=0)
    model_errors = models.PositiveSmallIntegerField(default=0)
    lease_token = models.UUIDField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    worker = models.CharField(max_length=120, blank=True)
    not_before = models.DateTimeField()  # when it may be claimed; later than creation after a back-off
    dispatched_at = models.DateTimeField(null=True)  # when the broker was last told
    deadline_at = models.DateTimeField(
        null=True
    )  # set by the first claim (a person's when it is asked), spans all attempts
    evidence = models.JSONField(
        default=list, encoder=DjangoJSONEncoder
    )  # [deliberation.types.Evidence] this seat was shown
    result = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    copied_from = models.ForeignKey(  # in a fork or a reconsideration: the turn in which this was said
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    error = models.CharField(max_length=64, blank=True)
    error_detail = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["round", "seat", "kind", "ordinal"], nulls_distinct=False, name="turn_asked_once"
            ),
            one_of("turn_status_known", "status", TurnStatus.values),
            one_of("turn_kind_known", "kind", [kind.value for kind in TurnKind]),
            models.CheckConstraint(
                condition=models.Q(status="running", lease_token__isnull=False, lease_expires_at__isnull=False)
                | ~models.Q(status="running"),
                name="turn_running_has_lease",
            ),
        ]
        indexes = [
            models.Index(fields=["not_before"], condition=models.Q(status="pending"), name="turn_pending"),
            models.Index(fields=["lease_expires_at"], condition=models.Q(status="running"), name="turn_leases"),
            models.Index(
                fields=["copied_from"], condition=models.Q(copied_from__isnull=False), name="turn_copied_from"
            ),
        ]
        triggers = [state_machine("turn_transitions", TURN_TRANSITIONS)]

    def __str__(self) -> str:
        return f"{self.kind} ({self.status})"


class Ballot(models.Model):
    """A secret ballot, sealed everywhere until its round is closed. ``order`` is how the candidates were shown to this voter."""

    id = models.BigAutoField(primary_key=True)
    turn = models.OneToOneField(Turn, on_delete=models.CASCADE, related_name="ballot")
    round = models.ForeignKey(Round, on_delete=models.CASCADE, related_name="ballots")
    seat = models.ForeignKey(Seat, on_delete=models.RESTRICT, related_name="ballots")
    order = models.JSONField()  # candidate ids as presented
    ranking = models.JSONField()  # candidate ids, best first
    scores = models.JSONField(default=dict)  # candidate id -> 0..10
    abstain = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["round", "seat"], name="ballot_one_per_seat")]

    def __str__(self) -> str:
        return f"ballot of seat {self.seat_id}"
