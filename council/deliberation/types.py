"""Values that travel between the parts of a deliberation. Standard library and pydantic only.

Vocabulary: a *seat* is a place at the table (agent, role, model); a *run* is one pass over a question; a run has *rounds*,
each of one *stage*; a round has *turns*, one for each seat that is asked, and, where votes are counted, one *tally* turn
without a seat; a *candidate* is what ballots rank: an option of a closed question, a cluster of open answers that say the
same, or, where seats estimate a figure, the range that the middle half of them span and what lies beyond it.

Everything here is stored as JSON and read again years later: a new field has a default that means what was so before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from council.deliberation.tools import Exchange, Pack, Tool, transcript
from council.deliberation.values import Frozen


class Stage(StrEnum):
    """In the order in which a protocol may hold them."""

    OPENING = "opening"
    ATTACK = "attack"  # one seat writes the strongest case against the leading answer
    DEBATE = "debate"
    BALLOT = "ballot"
    TALLY = "tally"  # asks nobody: as the last stage it says that the count is the outcome, and nobody writes it up
    GATE = "gate"  # a person looks at the count before anybody writes it up; a setting (``Protocol.gate``), never in ``stages``
    SYNTHESIS = "synthesis"
    RATIFY = "ratify"  # the seats accept or reject the written decision


class TurnKind(StrEnum):
    ANSWER = "answer"  # a seat's position, in the opening or a debate round
    BALLOT = "ballot"
    TALLY = "tally"  # seatless; computed by us, never by a model
    SYNTHESIS = "synthesis"  # the chair (ordinal 0) or whoever stands in (ordinal 1)
    DISSENT = "dissent"  # the minority report of one seat
    ATTACK = "attack"  # the first attacker (ordinal 0) or whoever takes its place (ordinal 1)
    RATIFY = "ratify"
    GATE = "gate"  # seatless; a person's
    REPLY = "reply"  # to a person's question; beside the run, which neither waits for it nor counts it


class TurnStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in {TurnStatus.COMPLETED, TurnStatus.FAILED, TurnStatus.CANCELLED}


class Rule(StrEnum):
    """What each reads: ballots' rankings, ballots' scores, or the positions that seats hold at the end (docs/deliberation.md)."""

    PLURALITY = "plurality"  # rankings
    MAJORITY = "majority"  # positions
    TWO_THIRDS = "two_thirds"  # positions
    UNANIMITY = "unanimity"  # positions
    BORDA = "borda"  # rankings
    SCHULZE = "schulze"  # rankings
    RANKED_PAIRS = "ranked_pairs"  # rankings
    SCORE = "score"  # scores
    MEDIAN = "median"  # scores (majority judgement)
    APPROVAL = "approval"  # scores
    IRV = "irv"  # rankings
    CONFIDENCE_WEIGHTED = "confidence_weighted"  # positions and stated confidences


class QuorumPolicy(StrEnum):
    REFUSE = "refuse"  # below quorum the run fails
    PARTIAL = "partial"  # below quorum the run concludes, marked partial


class Outcome(StrEnum):
    DECIDED = "decided"
    NO_CONSENSUS = "no_consensus"
    PARTIAL = "partial"  # decided by fewer seats, or earlier, than the protocol asked for


# --- what seats say -------------------------------------------------------------------------------------------------


class Claim(Frozen):
    text: str
    evidence: tuple[int, ...] = ()  # numbers of the evidence list that this seat was shown


class Persuasion(Frozen):
    """What moved a seat, as far as its stated cause can be traced: a passage that it was shown, an error that it names, or, when it
    only says that others think so, nothing."""

    kind: Literal["evidence", "error", "none"]
    n: int | None = None  # of the evidence list that it was shown
    entry: str | None = None
    revision: str | None = None


class Question(Frozen):
    """What one seat asks another. ``to`` is the letter under which the asker read the other's answer; ``seat`` whom that meant."""

    to: str
    text: str = Field(min_length=1)
    seat: str | None = None


class Reply(Frozen):
    """A seat's reply to the n-th question that it was asked in this turn, which was ``asked``."""

    question: int
    text: str = Field(min_length=1)
    asked: str = ""


class Answer(Frozen):
    """A seat's position after one answer turn. ``option`` is the option's text for closed questions, else None; ``estimate`` the
    figure where the protocol has a scale, else None."""

    answer: str = Field(min_length=1)
    option: str | None = None
    estimate: float | None = Field(default=None, allow_inf_nan=False)
    claims: tuple[Claim, ...] = ()
    confidence: float = Field(default=0.5, ge=0, le=1)
    would_change: str = ""
    changed_because: str | None = None  # debate only: evidence or a named error; required when the position changed
    persuaded_by: Persuasion | None = None  # what ``changed_because`` comes to
    overlap: float | None = None  # share of the question's content words that the answer has; None = not looked at
    questions: tuple[Question, ...] = ()
    replies: tuple[Reply, ...] = ()


class Ballot(Frozen):
    """One secret ballot over candidate ids, best first. Candidates left out are ranked below all that are named."""

    ranking: tuple[str, ...] = ()
    scores: Mapping[str, int] = Field(default_factory=dict)  # 0..10
    abstain: bool = False
    # Set by us, never by a voter: candidates that were withheld from it, about which the ballot says nothing.
    unseen: tuple[str, ...] = ()


class Synthesis(Frozen):
    """The written decision; ``[n]`` marks refer to the evidence list that its writer was shown."""

    answer: str = Field(min_length=1)


class Dissent(Frozen):
    text: str = Field(min_length=1)


class Attack(Frozen):
    """The case against the leading answer, cited."""

    text: str = Field(min_length=1)


class Verdict(Frozen):
    """One seat on the written decision. A rejection says what is wrong with the text."""

    accept: bool
    reason: str = ""


class GateAnswer(Frozen):
    """What a person decided at the gate: go on to the text, hold one more debate, or end with the count."""

    decision: Literal["approve", "debate", "stop"]
    note: str = ""


class Distribution(Frozen):
    """Estimates of all seats without their names. Quartiles are estimates that were given (see ``estimates``)."""

    n: int
    low: float
    q1: float
    median: float
    q3: float
    high: float


class Aside(Frozen):
    """What one seat replies to a person's question. Part of the record, of no count."""

    text: str = Field(min_length=1)
    question: str = ""


# --- what seats see -------------------------------------------------------------------------------------------------


class Evidence(Frozen):
    """One retrieved passage as a seat saw it, numbered from 1 within that turn. ``start``/``end`` are character offsets of the
    passage in the revision's content; ids are opaque strings here."""

    n: int
    pack: str
    entry: str
    revision: str
    passage: str | None
    title: str
    text: str
    start: int
    end: int
    score: float = 0.0
    snapshot: str | None = None  # of the pack, when the session pins one
    snapshot_label: str = ""


class UserMessage(Frozen):
    kind: Literal["evidence", "constraint", "question", "note"]
    content: str


class Revised(Frozen):
    """A cited passage whose entry has changed since: its text then and now. ``now`` is None when the passage, or its entry, is gone."""

    n: int  # of the seat's evidence list
    title: str
    then: str
    now: str | None = None


class Candidate(Frozen):
    """What ballots rank. ``id`` is stable within a run ("o1".. for options, "a1".. for answer texts)."""

    id: str
    text: str
    option: str | None = None
    seats: tuple[str, ...] = ()  # seat ids that hold it; never shown to seats


class Scale(Frozen):
    """What seats estimate: a figure, or a point on a Likert scale of whole numbers from ``low`` to ``high``."""

    kind: Literal["number", "likert"] = "number"
    low: float | None = Field(default=None, allow_inf_nan=False)
    high: float | None = Field(default=None, allow_inf_nan=False)
    unit: str = Field(default="", max_length=40)

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be less than high")
        if self.kind == "likert" and (self.low is None or self.high is None or self.low % 1 or self.high % 1):
            raise ValueError("a likert scale needs whole numbers low and high")
        return self

    def holds(self, value: float) -> bool:
        inside = (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
        return inside and (self.kind == "number" or value % 1 == 0)


class TurnContext(Frozen):
    """Everything that one turn may know. Blindness is a property of this value: what is not in it cannot leak."""

    kind: TurnKind
    stage: Stage
    question: str
    options: tuple[str, ...] = ()
    role: str = ""
    instructions: str = ""
    evidence: tuple[Evidence, ...] = ()
    messages: tuple[UserMessage, ...] = ()
    history: tuple[str, ...] = ()  # earlier decisions of the same session, oldest first (follow-ups)
    own: Answer | None = None  # this seat's latest position
    others: tuple[str, ...] = ()  # debate: de-duplicated, unnamed, in this seat's own order
    candidates: tuple[Candidate, ...] = ()  # ballot: in this voter's own order, without ``seats``
    winner: Candidate | None = None  # synthesis and dissent: the computed outcome; None = no consensus
    reasons: tuple[str, ...] = ()  # synthesis: supporting claims, unnamed
    objections: tuple[str, ...] = ()  # synthesis: the answers that lost, unnamed
    scale: Scale | None = None  # the turn gives an estimate
    distribution: Distribution | None = None  # debate about estimates: all of them, unnamed
    attack: str = ""  # debate: the case against the leading answer, unnamed
    may_ask: bool = False  # debate: another round may follow, in which a question to another seat would be answered
    asked: tuple[str, ...] = ()  # debate: questions that other seats put to this one, unnamed
    replied: tuple[str, ...] = ()  # debate, ballot: replies to what this seat asked, each with its question
    draft: str = ""  # ratify: the written decision; synthesis: the one that was rejected
    rejections: tuple[str, ...] = ()  # synthesis: what was wrong with ``draft``, unnamed
    searches: int = 0  # how often the turn may search ``packs`` itself; 0 = its evidence was fetched for it
    packs: tuple[Pack, ...] = ()
    search_k: int = 1  # passages of a search that names no number
    revised: tuple[Revised, ...] = ()  # reconsideration: what changed of the evidence that the seat's own answer cites

    @property
    def revisiting(self) -> bool:
        """The seat has a position, and is asked whether it still holds."""
        return self.own is not None and (self.stage is Stage.DEBATE or bool(self.revised))


class Prompt(Frozen):
    """One call of a model, free of any provider's shapes.

    ``schema``: JSON Schema of the reply, or None for prose. ``field`` names what is asked (for the record and the live view);
    ``live`` says whether its tokens may be streamed to watchers (ballots never are). ``tools`` may be called while ``may_call``;
    ``exchange`` is what was called and came back since ``user`` was said, ``remark`` what the user says after it.
    """

    system: str
    user: str
    json_schema: dict[str, object] | None = None
    max_tokens: int = 512
    temperature: float = 0.7
    field: str = "turn"
    live: bool = False
    tools: tuple[Tool, ...] = ()
    may_call: bool = False
    exchange: tuple[Exchange, ...] = ()
    remark: str = ""

    @property
    def said(self) -> str:
        """All that was said to the model but the system prompt, and what it said itself in between: for the record."""
        return self.user + transcript(self.exchange, self.remark)


# --- protocol and run state -----------------------------------------------------------------------------------------


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


# --- what next_step answers -----------------------------------------------------------------------------------------


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
