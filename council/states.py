"""State machines: one table of transitions each, read by the services (409 with a code) and built into database triggers."""

from __future__ import annotations

from django.db import models

from realtime.states import Transitions


class SessionStatus(models.TextChoices):
    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    ARCHIVED = "archived"


class RunStatus(models.TextChoices):
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"


class TurnStatus(models.TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = (SessionStatus.COMPLETED, SessionStatus.STOPPED, SessionStatus.FAILED)
SERVING = (
    SessionStatus.RUNNING,
    *FINISHED,
)  # replies to people's questions are given in these, everything else while it runs
OPEN_RUNS = (RunStatus.RUNNING, RunStatus.PAUSED)
OPEN_TURNS = (TurnStatus.PENDING, TurnStatus.RUNNING)

_ENDS = ("completed", "stopped", "failed")

SESSION_TRANSITIONS: Transitions = {
    "draft": ("running", "archived"),
    "running": ("paused", *_ENDS),
    "paused": ("running", *_ENDS),
    # a finished session accepts a follow-up run
    "completed": ("running", "archived"),
    "stopped": ("running", "archived"),
    "failed": ("running", "archived"),
    "archived": (),
}
RUN_TRANSITIONS: Transitions = {
    "running": ("paused", *_ENDS),
    "paused": ("running", *_ENDS),
    "completed": (),
    "stopped": (),
    "failed": (),
}
TURN_TRANSITIONS: Transitions = {
    "pending": ("running", "failed", "cancelled"),
    # back to pending: the lease expired, the model erred and is asked again, or the user interrupted
    "running": ("pending", "completed", "failed", "cancelled"),
    "completed": (),
    "failed": ("pending",),  # staff have it asked again while its round is open
    "cancelled": (),
}
