"""What seats say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from council.deliberation.values import Frozen


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
