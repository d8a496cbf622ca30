"""How a run ends: with what outcome or reason, and the sentences that stand above a degraded answer."""

from __future__ import annotations

from council.deliberation import gates, record
from council.deliberation.types import Conclude, Outcome, RunState, Stage

EXHAUSTED = {"deadline": "Time ran out", "budget": "The budget ran out"}
STAGE_NAMES = {
    Stage.OPENING: "the opening",
    Stage.ATTACK: "the attack",
    Stage.DEBATE: "the debate",
    Stage.BALLOT: "the ballot",
    Stage.TALLY: "the tally",
    Stage.GATE: "the gate",
    Stage.SYNTHESIS: "the synthesis",
    Stage.RATIFY: "the ratification",
}


def cut_short(state: RunState) -> bool:
    return state.exhausted is not None and record.written(state) is None


def conclude_exhausted(state: RunState) -> Conclude:
    """Call only when ``exhausted`` is set."""
    reason = state.exhausted or ""
    opened = bool(state.rounds) and record.has_quorum(state, state.rounds[0])
    if opened and record.final_tally(state):
        return conclude(state)
    return fail(state, reason, f"{EXHAUSTED[reason]} before a quorum had answered.")


def conclude(state: RunState) -> Conclude:
    outcome = Outcome.DECIDED if winner(state) else Outcome.NO_CONSENSUS
    if cut_short(state) or _degraded_stage(state) or _gate_unanswered(state):
        outcome = Outcome.PARTIAL
    return Conclude(status="completed", outcome=outcome, notes=_notes(state))


def _gate_unanswered(state: RunState) -> bool:
    return gates.ended_there(state) and gates.answer_to(state.rounds[-1]) is None


def winner(state: RunState) -> str | None:
    tally = record.final_tally(state)
    return tally.winner if tally else None


def fail(state: RunState, reason: str, *notes: str) -> Conclude:
    return Conclude(status="failed", reason=reason, notes=(*notes, *_missing_notes(state)))


def _degraded_stage(state: RunState) -> tuple[Stage, int] | None:
    """The stage in which the quorum was missed and how many were there, if the run went on without it."""
    for round_ in state.rounds:
        if round_.stage in {Stage.OPENING, Stage.BALLOT} and not record.has_quorum(state, round_):
            return round_.stage, record.turnout(round_)
    tally = record.latest_tally(state)
    voted = any(round_.stage is Stage.BALLOT for round_ in state.rounds)
    wanted = Stage.BALLOT in state.protocol.stages and not voted and not (tally and record.unanimous(state, tally))
    if wanted and not cut_short(state):
        return Stage.BALLOT, len(record.present(state))
    return None


def _notes(state: RunState) -> tuple[str, ...]:
    notes: list[str] = []
    if cut_short(state):
        notes.append(_exhausted_note(state))
    if degraded := _degraded_stage(state):
        notes.append(quorum_note(state, *degraded))
    if not cut_short(state):
        notes += _gate_notes(state)
    if notes and winner(state) is None:
        notes.append("No candidate was elected.")
    return (*ratification_notes(state), *notes, *_missing_notes(state), *_writer_notes(state))


def _gate_notes(state: RunState) -> list[str]:
    if not gates.ended_there(state):
        return []
    who = "Nobody answered the gate in time" if _gate_unanswered(state) else "A person ended the council at the gate"
    what = "the answer is the leading one verbatim" if winner(state) else "the answers stand as they were given"
    return [f"{who}, before a decision was written: {what}."]


def ratification_notes(state: RunState) -> tuple[str, ...]:
    """First of all notes: what the reader must know of the text itself."""
    if Stage.RATIFY not in state.protocol.stages or record.written(state) is None:
        return ()
    verdict = record.ratification(state)
    if verdict is None or verdict.accepted + verdict.rejected == 0:
        why = (
            f"{EXHAUSTED[state.exhausted]} before the seats had judged the text"
            if state.exhausted
            else "No seat judged the text"
        )
        return (f"Not ratified. {why}.",)
    counted = f"{verdict.accepted} of {verdict.accepted + verdict.rejected} seats accepted this text"
    if not verdict.ratified:
        return (f"Not ratified: {counted}{', which was written again after a first rejection' * verdict.revised}.",)
    return (f"Ratified in its second wording: {counted}.",) if verdict.revised else ()


def _exhausted_note(state: RunState) -> str:
    last = state.rounds[-1]
    moment = "after" if all(map(record.completed, last.turns)) else "during"
    return f"{EXHAUSTED[state.exhausted or '']} {moment} {STAGE_NAMES[last.stage]}; the council decided on what it had."


def quorum_note(state: RunState, stage: Stage, present: int) -> str:
    needed = record.quorum_size(state.protocol, len(record.voters(state)))
    total = len(record.voters(state))
    return f"{STAGE_NAMES[stage].capitalize()} had no quorum: {present} of {total} seats, {needed} needed."


def _missing_notes(state: RunState) -> tuple[str, ...]:
    unanswered = [one for one in record.rounds_of(state, Stage.ATTACK) if not any(map(record.completed, one.turns))]
    silent = ("Nobody made the case against the leading answer.",) if unanswered else ()
    return silent + tuple(
        f"{record.seat_label(state, seat)} was missing from {STAGE_NAMES[stage]}."
        for seat, stage in record.missing_seats(state)
    )


def _writer_notes(state: RunState) -> tuple[str, ...]:
    writer = record.written(state)
    if writer is None:
        if gates.ended_there(state):
            return ()
        wanted = Stage.SYNTHESIS in state.protocol.stages and winner(state) is not None
        return ("Nobody wrote a synthesis: the answer is the leading one verbatim.",) if wanted else ()
    if writer.ordinal:
        return (f"{record.seat_label(state, writer.seat or '')} wrote the synthesis in place of the chair.",)
    return ()
