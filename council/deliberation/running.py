"""The protocol of a run, and where the run stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from council.deliberation.said import Answer, Attack, Ballot, Distribution, GateAnswer, Verdict
from council.deliberation.shown import Candidate, Scale
from council.deliberation.values import Frozen
from council.deliberation.vocabulary import QuorumPolicy, Rule, Stage, TurnKind, TurnStatus

MERGE_AT = 0.85  # measured: docs/protocols.md
HUMAN = "human"  # a seat with this model is a person's
# Where a person sits, nobody reads what was said in an open round of these: models do not either. Ballots are sealed anyway.
SEALED_FROM_PEOPLE = frozenset({Stage.OPENING, Stage.DEBATE, Stage.RATIFY})


class Protocol(Frozen):
    """How a run proceeds; stages are data. Built by ``protocol.resolve`` from a preset and overrides."""

    preset: str = "council"
    stages: tuple[Stage, ...] = (Stage.OPENING, Stage.BALLOT, Stage.SYNTHESIS)
    rule: Rule = Rule.SCHULZE
    rounds: int = Field(default=1, ge=0, le=5)  # debate rounds at most
    quorum: int | None = Field(default=None, ge=2)  # None = max(2, ceil(voters / 2))
    policy: QuorumPolicy = QuorumPolicy.REFUSE
    turn_deadline_s: float = Field(default=120, gt=0, le=3600)  # spans all attempts of a turn
    run_deadline_s: float = Field(default=1800, gt=0, le=86400)  # waiting for people comes on top of it
    gate: Literal["before_synthesis"] | None = None
    human_deadline_s: float = Field(default=86400, gt=0, le=30 * 86400)  # of each turn that waits for a person
    agree_at: float = Field(default=2 / 3, gt=0.5, le=1)  # opening share at which debate is skipped
    evidence_k: int = Field(default=6, ge=0, le=20)  # passages each seat retrieves
    searches: int = Field(default=3, ge=0, le=10)  # of its own in a turn, for models with tools; 0 = fetched for all
    neighbours: int | None = Field(
        default=None, ge=1, le=11
    )  # answers each seat reads in a debate; None = see ``neighbours``
    merge_at: float | None = Field(
        default=MERGE_AT, gt=0, le=1
    )  # similarity of open answers that say the same; None = never
    estimate: Scale | None = None  # seats estimate a figure instead of choosing or answering
    stable_at: float = Field(default=0.15, ge=0, le=1)  # a round of estimates that moves the quartiles less is the last


class SeatState(Frozen):
    id: str
    position: int
    chair: bool = False
    human: bool = False


class TurnState(Frozen):
    id: str
    seat: str | None
    kind: TurnKind
    ordinal: int
    status: TurnStatus
    answer: Answer | None = None
    ballot: Ballot | None = None
    attack: Attack | None = None
    verdict: Verdict | None = None
    gate: GateAnswer | None = None
    # The answer carries a verified citation, or the seat was shown nothing that it could cite; not: it could have searched.
    grounded: bool = True
    released: bool = False  # cancelled because the outcome no longer depended on it: neither missing nor failed


class RuleResult(Frozen):
    """What one rule says: ``winners`` holds one id, several on a tie, none when the rule elects nobody (no majority)."""

    winners: tuple[str, ...]
    scores: Mapping[str, float] = Field(default_factory=dict)


class Agreement(Frozen):
    """Modal share = seats holding the most common position / seats with a position. W over commonly ranked items or None."""

    modal_share: float
    positions: Mapping[str, str]  # seat id -> candidate id
    kendall_w: float | None = None


class Likeness(Frozen):
    """Two open answers compared by meaning; ``first`` and ``second`` are ``merging.key`` of their texts, in that order."""

    first: str
    second: str
    score: float  # cosine similarity
    merged: bool
    reason: str = ""  # why a pair above the threshold was kept apart: "figures" or "polarity"; "undone" by the user


class Merging(Frozen):
    """Which open answers were taken to say the same, and why. Stored, so that a recount asks no model. ``pairs`` holds those that
    came near the threshold."""

    model: str
    threshold: float
    pairs: tuple[Likeness, ...] = ()


class Tally(Frozen):
    """A complete count, enough to recompute every figure of a decision."""

    candidates: tuple[Candidate, ...]
    winner: str | None  # candidate id; None = no consensus
    decided_by: str  # "schulze", or the tie-break that decided: "borda" | "median_score" | "seed"; "" when no winner
    rules: Mapping[str, RuleResult]
    margin: int | None  # fewest ballots whose change would alter the winner, searched up to 2; None = more than 2
    too_close: bool
    agreement: Agreement
    voters: int
    abstentions: int = 0
    # How it was counted: 1 knew four rules, 2 knows all of ``Rule``. A recount counts as the stored tally says.
    version: int = 1
    merging: Merging | None = None
    estimates: Distribution | None = None
    strayed: tuple[str, ...] = ()  # seats whose answer has no content word of the question

    @property
    def winning(self) -> Candidate | None:
        """The candidate that won; None = no consensus."""
        return next((one for one in self.candidates if one.id == self.winner), None)


class RoundState(Frozen):
    number: int  # from 1, within the run
    stage: Stage
    closed: bool
    turns: tuple[TurnState, ...] = ()
    tally: Tally | None = None  # set when the round's tally turn is completed


class RunState(Frozen):
    protocol: Protocol
    seats: tuple[SeatState, ...]
    options: tuple[str, ...] = ()
    rounds: tuple[RoundState, ...] = ()
    seed: int = 0
    exhausted: Literal["deadline", "budget"] | None = None
