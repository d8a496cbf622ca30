"""What seats see. Blindness is a property of these values: what is not in them cannot leak."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from council.deliberation.said import Answer, Distribution
from council.deliberation.tools import Exchange, Pack, Tool, transcript
from council.deliberation.values import Frozen
from council.deliberation.vocabulary import Stage, TurnKind


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
