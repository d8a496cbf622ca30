"""What the parts of a deliberation are called."""

from __future__ import annotations

from enum import StrEnum


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
