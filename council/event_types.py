"""Every event of a council session and its snapshot, as types. ``council.events`` writes them, ``council.serial`` shapes them.

Shapes that are values of a deliberation are those of ``council.deliberation``, so that what is published cannot fall behind them.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from council.deliberation.citations import CitationCheck
from council.deliberation.tools import SearchMade
from council.deliberation.types import (
    Answer,
    Aside,
    Attack,
    Dissent,
    Distribution,
    Evidence,
    GateAnswer,
    Outcome,
    Persuasion,
    Protocol,
    RuleResult,
    Stage,
    Synthesis,
    Tally,
    TurnKind,
    TurnStatus,
    Verdict,
)
from council.states import SessionStatus
from realtime.schemas import EventType, Shape, StreamSchema, Time, absent

Checked = Literal["verified", "unsupported", "missing"]

# --- The session ------------------------------------------------------------------------------------------------------


class Usage(Shape):
    """What the session has used, as of its last settled call. ``seconds`` are those that models worked."""

    tokens: int
    usd: float
    calls: int
    seconds: float


class BudgetLimits(Shape):
    """The session's limits; null is none."""

    tokens: int | None
    usd: float | None
    calls: int | None
    seconds: float | None


class SeatAtTable(Shape):
    """A place at the table."""

    id: UUID
    position: int
    name: str
    role: str
    instructions: str
    model: str = Field(description="empty: the default model; `human`: a person")
    chair: bool


class TemplateRan(Shape):
    """The template that shaped the session, as it was then."""

    slug: str
    title: str
    version: int


class ForkOrigin(Shape):
    """What a fork comes from."""

    session: UUID
    run: int | None
    after_round: int
    changes: dict[str, Any]
    kept: int
    new_from: int
    asked_again: list[str]
    notes: list[str]


class SessionState(Shape):
    """The part of a session that a run moves."""

    status: SessionStatus
    reason: str
    round: int
    version: int
    started_at: Time | None
    finished_at: Time | None


class Session(SessionState):
    """The whole session, without its rounds and decisions."""

    id: UUID
    title: str
    question: str
    options: list[str]
    protocol: Protocol
    template: TemplateRan | None
    agents: list[SeatAtTable]
    packs: list[UUID]
    snapshots: dict[str, str] = Field(description="label of the snapshot that is read, by pack")
    usage: Usage
    budget: BudgetLimits
    forked_from: ForkOrigin | None
    excluded_entries: list[UUID]
    warnings: list[str]
    created_at: Time


# --- Turns ------------------------------------------------------------------------------------------------------------


class _Cited(Shape):
    citations: list[CitationCheck] = absent()
    searches: list[SearchMade] = absent("of a seat that could search for itself")


class AnswerResult(_Cited):
    answer: Answer


class SynthesisResult(_Cited):
    synthesis: Synthesis


class DissentResult(_Cited):
    dissent: Dissent


class AttackResult(_Cited):
    attack: Attack


class ReplyResult(_Cited):
    reply: Aside


class VerdictResult(_Cited):
    verdict: Verdict


class GateResult(Shape):
    gate: GateAnswer


Result = AnswerResult | SynthesisResult | DissentResult | AttackResult | ReplyResult | VerdictResult | GateResult


class TurnName(Shape):
    """What names an attempt of a turn."""

    turn: UUID
    seat: UUID | None
    run: int
    round: int
    kind: TurnKind
    ordinal: int
    attempt: int


class Turn(TurnName):
    """A turn as far as it may be read: what is sealed is left empty."""

    status: TurnStatus
    person: UUID | None = Field(description="who gave it, where no model did")
    result: Result | None = Field(description="null for ballots and counts, and while it is sealed")
    evidence: list[Evidence]
    error: str
    error_detail: str
    started_at: Time | None
    finished_at: Time | None
    copied_from: UUID | None = Field(description="the turn that it is a copy of, in forks and reconsiderations")


class TurnEnded(Turn):
    """A turn and what its last call came to."""

    usage: Usage = absent("after the call that ended with the turn")


class TurnRetrying(TurnEnded):
    """A turn that is made again."""

    retry_in_s: float


# --- Rounds -----------------------------------------------------------------------------------------------------------


class RoundName(Shape):
    """What names a round."""

    run: int
    round: int
    stage: Stage


class OpenedBallot(Shape):
    """A ballot of a closed round. ``order``: in which the voter read the candidates."""

    seat: UUID
    order: list[str]
    ranking: list[str]
    scores: dict[str, int]
    abstain: bool


class BallotText(Shape):
    """What ballots rank, by id."""

    id: str
    text: str
    option: str | None


class Round(RoundName):
    """A round as the snapshot shows it."""

    opened_at: Time
    closed_at: Time | None
    asked: list[UUID] = Field(description="seats")
    turns: list[Turn]
    tally: Tally | None
    ballots: list[OpenedBallot] = Field(description="empty while the round is open")
    texts: list[BallotText]


class GateOutcome(Shape):
    """The computed outcome that a person is asked about."""

    outcome: Outcome | Literal[""]
    option: str | None
    text: str | None
    decided_by: str
    margin: int | None
    too_close: bool
    allowed: list[Literal["approve", "debate", "stop"]]


# --- What is said and decided -----------------------------------------------------------------------------------------


class SessionMessage(Shape):
    """What a person said."""

    id: UUID
    kind: Literal["evidence", "constraint", "question", "note"]
    content: str
    interrupt: bool
    author: UUID | None
    seat: UUID | None = Field(description="the only seat that reads it, where there is one")
    turn: UUID | None = Field(description="the turn that brings that seat's reply")
    created_at: Time


class PinnedSnapshot(Shape):
    """The version of a pack that the council read."""

    id: UUID
    label: str


class DecisionCitation(Shape):
    """One `[n]` of a decision."""

    n: int
    revision: UUID | None
    entry: UUID | None
    title: str | None
    passage: str | None
    start: int | None
    end: int | None
    quote: str
    quote_hash: str = Field(description="SHA-256, hex")
    status: Checked
    reason: str
    similarity: float | None
    snapshot: PinnedSnapshot | None


class EstimatesBeforeAndAfter(Shape):
    """Where seats gave estimates."""

    opening: Distribution | None
    final: Distribution


class DecisionAgreement(Shape):
    """Shares of the seats that hold the most common position; Kendall's W of their ballots."""

    opening: float | None
    final: float | None
    kendall_w: float | None
    estimates: EstimatesBeforeAndAfter = absent()


class MinorityReport(Shape):
    """What a seat says that holds another position."""

    seat: UUID
    name: str
    option: str | None
    text: str
    written: bool = Field(description="false: quoted from its answer")
    citations: list[CitationCheck]


class ChangeOfMind(Shape):
    """A seat that left its position in a debate; ``before`` and ``after`` are ids of candidates."""

    seat: UUID
    name: str
    round: int
    before: str
    after: str
    because: str
    persuaded_by: Persuasion | None


class RatificationCount(Shape):
    """What the seats said of the text that stands."""

    accepted: int
    rejected: int
    ratified: bool
    revised: bool


class SeatsQuestion(Shape):
    """What one seat asked another, both by name."""

    round: int
    from_: str = Field(alias="from")
    to: str | None
    question: str
    reply: str | None


class MissingSeat(Shape):
    """A seat that a stage did without."""

    seat: UUID
    name: str
    stage: Stage
    error: str


class Decision(Shape):
    """What a run concluded, and what that stands on."""

    run: int
    outcome: Outcome
    answer: str
    source: Literal["chair", "stand_in", "verbatim"]
    option: str | None
    citations: list[DecisionCitation]
    confidence: float | None
    agreement: DecisionAgreement
    rules: dict[str, RuleResult]
    decided_by: str
    margin: int | None = Field(description="null: more than 2 ballots, or nothing to vote on")
    too_close: bool
    dissent: list[MinorityReport]
    flips: list[ChangeOfMind]
    ratification: RatificationCount | None
    exchange: list[SeatsQuestion]
    missing: list[MissingSeat]
    notes: list[str]


class SessionSnapshot(Shape):
    """The whole state of a council session as of ``last_seq``."""

    session: Session
    rounds: list[Round]
    messages: list[SessionMessage]
    decisions: list[Decision]
    last_seq: int


# --- Events -----------------------------------------------------------------------------------------------------------


class SessionWhole(Shape):
    session: Session


class SessionMoved(Shape):
    session: SessionState


class SessionStarted(SessionMoved):
    run: int


class SessionEnded(SessionMoved):
    reason: str


class RoundStarted(RoundName):
    opened_at: Time
    asked: list[UUID] = Field(description="seats")


class RoundClosed(RoundName):
    closed_at: Time
    ballots: list[OpenedBallot]
    texts: list[BallotText] = Field(description="what they rank")
    turns: list[Turn] = absent("in a round with a person: each turn that was sealed until now, whole")


class GateOpened(RoundName):
    turn: UUID
    deadline_at: Time
    outcome: GateOutcome


class TallyComputed(RoundName):
    tally: Tally


class MessageCreated(Shape):
    message: SessionMessage


class DecisionMade(Shape):
    decision: Decision


class BudgetNews(Shape):
    usage: Usage
    budget: BudgetLimits


COUNCIL_SESSIONS = StreamSchema(
    name="council-sessions",
    path="/ws/council-sessions/{id}",
    title="Council sessions",
    snapshot=SessionSnapshot,
    events=(
        EventType("session.created", SessionWhole, "a draft was made"),
        EventType("session.updated", SessionWhole, "a person changed it"),
        EventType("session.started", SessionStarted, "a run began"),
        EventType("session.paused", SessionMoved, "by its owner"),
        EventType("session.resumed", SessionMoved, "by its owner"),
        EventType("session.completed", SessionEnded, "the run ended"),
        EventType("session.stopped", SessionEnded, "the run ended: somebody stopped it"),
        EventType("session.failed", SessionEnded, "the run ended without a decision"),
        EventType(
            "session.archived", SessionMoved, "a forgotten draft, or a finished council of a trial, was put away"
        ),
        EventType("round.started", RoundStarted, "a stage began"),
        EventType("gate.opened", GateOpened, "the run waits for a person before the decision is written"),
        EventType("turn.started", Turn, "a worker began an attempt, or a person answered"),
        EventType(
            "turn.retrying",
            TurnRetrying,
            "the attempt came to nothing and will be made again; or staff had a failed turn asked again",
        ),
        EventType("turn.completed", TurnEnded, "the turn ended"),
        EventType("turn.failed", TurnEnded, "the turn ended: it still counts, so that its round ends"),
        EventType("turn.cancelled", TurnEnded, "the turn ended: nothing of it is waited for any more"),
        EventType("ballot.cast", TurnName, "a seat voted; what it voted is sealed"),
        EventType("tally.computed", TallyComputed, "a round was counted"),
        EventType("round.closed", RoundClosed, "the stage ended; ballots are open now"),
        EventType("decision.reached", DecisionMade, "the run has a decision"),
        EventType(
            "decision.revised",
            DecisionMade,
            "its owner took merged answers apart and the votes were counted again; it takes the place of the run's decision, and"
            " `tally.computed` comes before it for each round that changed",
        ),
        EventType("message.created", MessageCreated, "a person said something, to all seats or to one"),
        EventType("budget.warning", BudgetNews, "80 % of the nearest limit is used"),
        EventType("budget.exhausted", BudgetNews, "a call did not fit any more"),
    ),
)
