"""What ``next_step`` answers."""

from __future__ import annotations

from typing import Literal

from council.deliberation.values import Frozen
from council.deliberation.vocabulary import Outcome, Stage, TurnKind


class NewTurn(Frozen):
    seat: str | None
    kind: TurnKind
    ordinal: int = 0


class Ask(Frozen):
    """Insert these turns in round ``number``, opening it when it does not exist yet."""

    number: int
    stage: Stage
    turns: tuple[NewTurn, ...]


class CloseRound(Frozen):
    number: int


class Release(Frozen):
    """Cancel these turns, which nobody has begun: whatever they said, the outcome would stay."""

    number: int
    turns: tuple[str, ...]


class Conclude(Frozen):
    """End the run. ``failed`` carries a reason code ("quorum_not_met", "deadline", "budget", "no_answers"); otherwise the decision
    is assembled from the closed rounds. ``notes`` are the human sentences that stand above a degraded answer."""

    status: Literal["completed", "failed"]
    outcome: Outcome | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


class Wait(Frozen):
    """Turns are outstanding; whoever finishes one asks again."""


Step = Ask | CloseRound | Release | Conclude | Wait
