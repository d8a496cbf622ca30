"""Values that travel between the parts of a deliberation. Standard library and pydantic only.

Vocabulary: a *seat* is a place at the table (agent, role, model); a *run* is one pass over a question; a run has *rounds*,
each of one *stage*; a round has *turns*, one for each seat that is asked, and, where votes are counted, one *tally* turn
without a seat; a *candidate* is what ballots rank: an option of a closed question, a cluster of open answers that say the
same, or, where seats estimate a figure, the range that the middle half of them span and what lies beyond it.

Everything here is stored as JSON and read again years later: a new field has a default that means what was so before it.
"""

from __future__ import annotations

from council.deliberation.asking import Ask, CloseRound, Conclude, NewTurn, Release, Step, Wait
from council.deliberation.running import (
    HUMAN,
    MERGE_AT,
    SEALED_FROM_PEOPLE,
    Agreement,
    Likeness,
    Merging,
    Protocol,
    RoundState,
    RuleResult,
    RunState,
    SeatState,
    Tally,
    TurnState,
)
from council.deliberation.said import (
    Answer,
    Aside,
    Attack,
    Ballot,
    Claim,
    Dissent,
    Distribution,
    GateAnswer,
    Persuasion,
    Question,
    Reply,
    Synthesis,
    Verdict,
)
from council.deliberation.shown import Candidate, Evidence, Prompt, Revised, Scale, TurnContext, UserMessage
from council.deliberation.vocabulary import Outcome, QuorumPolicy, Rule, Stage, TurnKind, TurnStatus

__all__ = [
    "HUMAN",
    "MERGE_AT",
    "SEALED_FROM_PEOPLE",
    "Agreement",
    "Answer",
    "Aside",
    "Ask",
    "Attack",
    "Ballot",
    "Candidate",
    "Claim",
    "CloseRound",
    "Conclude",
    "Dissent",
    "Distribution",
    "Evidence",
    "GateAnswer",
    "Likeness",
    "Merging",
    "NewTurn",
    "Outcome",
    "Persuasion",
    "Prompt",
    "Protocol",
    "Question",
    "QuorumPolicy",
    "Release",
    "Reply",
    "Revised",
    "RoundState",
    "Rule",
    "RuleResult",
    "RunState",
    "Scale",
    "SeatState",
    "Stage",
    "Step",
    "Synthesis",
    "Tally",
    "TurnContext",
    "TurnKind",
    "TurnState",
    "TurnStatus",
    "UserMessage",
    "Verdict",
    "Wait",
]
