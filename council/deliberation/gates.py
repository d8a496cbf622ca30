"""The gate: a person looks at the computed outcome before anybody writes it up, and says how to go on.

The question and its answer are a round like any other (stage ``gate``, one turn without a seat), so that a stored run shows who
let it pass, and a recount goes the same way. Once a gate was opened, only people ask for debates: each ``debate`` is one round more,
then a new ballot where seats disagree, then the gate again. Unanswered, the run concludes with what was counted, marked partial.
"""

from __future__ import annotations

from council.deliberation import record
from council.deliberation.types import GateAnswer, RoundState, RunState, Stage

DEBATES_MAX = 5  # of a run, those that the protocol holds by itself among them


def answer_to(round_: RoundState) -> GateAnswer | None:
    """What a person said at this gate; None when nobody did."""
    return next((turn.gate for turn in round_.turns if record.completed(turn)), None)


def latest(state: RunState) -> RoundState | None:
    return next((round_ for round_ in reversed(state.rounds) if round_.stage is Stage.GATE), None)


def ended_there(state: RunState) -> bool:
    """The run went no further than its last gate: it was stopped there, or nobody answered."""
    last = state.rounds[-1] if state.rounds else None
    if last is None or last.stage is not Stage.GATE or not last.closed:
        return False
    found = answer_to(last)
    return found is None or found.decision == "stop"


def since(state: RunState, stage: Stage) -> tuple[RoundState, ...]:
    """The rounds of a stage after the last gate; all of them where there was none."""
    gate = latest(state)
    return tuple(one for one in record.rounds_of(state, stage) if gate is None or one.number > gate.number)


def why_no_debate(state: RunState) -> str:
    """A sentence that says why one more debate cannot be held, "" when it can."""
    if Stage.DEBATE not in state.protocol.stages:
        return "The protocol of this council has no debate."
    if len(record.rounds_of(state, Stage.DEBATE)) >= DEBATES_MAX:
        return f"A run holds at most {DEBATES_MAX} debates."
    needed, here = record.quorum_size(state.protocol, len(record.voters(state))), len(record.present(state))
    if here < needed:
        return f"Only {here} seats are still there, and a quorum is {needed}."
    return ""
