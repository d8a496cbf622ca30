"""``next_step(state)``: what a run does next, as a pure and total function of its state.

    opening → (debate …) → (ballot) → synthesis → conclusion

Every round goes the same way: its turns are asked at once, then (except in the synthesis) one tally turn, then it is closed,
and only a closed round lets the run move on. What follows a closed round:

- *opening, ballot*: fewer completed turns than the quorum → policy ``refuse`` fails the run ("quorum_not_met"); policy
  ``partial`` goes to the synthesis with what there is ("no_answers" if there is nothing). A quorum that the seats still
  present can no longer meet is not waited for.
- *debate* is held while the latest tally's modal share is below ``agree_at``, at most ``rounds`` times, not again after a round
  without flips, and only between two present seats or more.
- *ballot* is skipped when every answer holds one and the same candidate: there is nothing to rank.
- *synthesis*: the chair writes (ordinal 0) while every present dissenter writes its minority report. As soon as the
  chair fails, or when there is none, one present seat is asked in its place (ordinal 1), a supporter of the winner if
  possible. If that fails too the run concludes all the same; the decision is then the top answer verbatim.

A run out of time or money (``exhausted``) asks no model again, counts what it has and concludes: ``partial`` when the opening
had a quorum, else failed with that reason. A synthesis completed before the end makes it an ordinary conclusion.

The caller cancels running and pending turns when a run is exhausted; until they are terminal the answer is ``Wait``.
"""

from __future__ import annotations

from council.deliberation import record
from council.deliberation.types import (
    Ask,
    CloseRound,
    Conclude,
    NewTurn,
    Outcome,
    QuorumPolicy,
    RoundState,
    RunState,
    SeatState,
    Stage,
    Step,
    Tally,
    TurnKind,
    TurnStatus,
    Wait,
)

EXHAUSTED = {"deadline": "Time ran out", "budget": "The budget ran out"}
STAGE_NAMES = {
    Stage.OPENING: "the opening",
    Stage.DEBATE: "the debate",
    Stage.BALLOT: "the ballot",
    Stage.SYNTHESIS: "the synthesis",
}
TALLY = NewTurn(seat=None, kind=TurnKind.TALLY)


def next_step(state: RunState) -> Step:
    """The next step of a run; pure, total, and the end of every run is reached by repeating it. Not for stopped runs."""
    if not state.rounds:
        return _open_run(state)
    current = state.rounds[-1]
    if not current.closed:
        return _in_round(state, current)
    if _cut_short(state):
        return _conclude_exhausted(state)
    return _after(state, current)


# --- inside a round ---------------------------------------------------------------------------------------------------


def _in_round(state: RunState, current: RoundState) -> Step:
    if current.stage is Stage.SYNTHESIS and (stand_in := _stand_in_turn(state, current)):
        return Ask(number=current.number, stage=current.stage, turns=(stand_in,))
    if any(not turn.status.terminal for turn in current.turns):
        return Wait()
    if current.stage in record.COUNTED:
        return _count_round(state, current)
    return CloseRound(number=current.number)


def _count_round(state: RunState, current: RoundState) -> Step:
    tally = record.tally_turn(current)
    if tally is None:
        return Ask(number=current.number, stage=current.stage, turns=(TALLY,))
    if record.completed(tally) or (state.exhausted and tally.status is TurnStatus.CANCELLED):
        return CloseRound(number=current.number)
    return _fail(state, "tally_failed", f"The votes of {STAGE_NAMES[current.stage]} could not be counted.")


def _stand_in_turn(state: RunState, current: RoundState) -> NewTurn | None:
    """The turn to add when the chair could not write; asked at once, without waiting for minority reports."""
    written = [turn for turn in current.turns if turn.kind is TurnKind.SYNTHESIS]
    lost = all(turn.status.terminal and not record.completed(turn) for turn in written)
    if state.exhausted or not lost or any(turn.ordinal == 1 for turn in written):
        return None
    writer = _stand_in(state)
    return NewTurn(seat=writer.id, kind=TurnKind.SYNTHESIS, ordinal=1) if writer else None


def _stand_in(state: RunState) -> SeatState | None:
    against = set(record.dissenters(state))
    return min(record.present(state), key=lambda seat: seat.id in against, default=None)


# --- from round to round ----------------------------------------------------------------------------------------------


def _open_run(state: RunState) -> Step:
    seats = record.voters(state)
    if state.exhausted:
        return _conclude_exhausted(state)
    if not seats or _quorum_out_of_reach(state):
        return _below_quorum(state, Stage.OPENING, present=len(seats))
    return _ask(state, Stage.OPENING, TurnKind.ANSWER)


def _ask(state: RunState, stage: Stage, kind: TurnKind) -> Ask:
    turns = tuple(NewTurn(seat=seat.id, kind=kind) for seat in record.present(state))
    return Ask(number=len(state.rounds) + 1, stage=stage, turns=turns)


def _quorum_out_of_reach(state: RunState) -> bool:
    """Fewer seats are left than a stage needs. Under ``partial`` an opening is worth its while with a single answer."""
    needed = record.quorum_size(state.protocol, len(record.voters(state)))
    if not state.rounds and state.protocol.policy is QuorumPolicy.PARTIAL:
        needed = 1
    return len(record.present(state)) < needed


def _after(state: RunState, closed: RoundState) -> Step:
    if closed.stage is Stage.SYNTHESIS:
        return _conclude(state)
    if closed.tally is None:  # closed without a count: nothing to go by, which only a broken record can show
        return _fail(state, "tally_failed", f"The votes of {STAGE_NAMES[closed.stage]} could not be counted.")
    if closed.stage is not Stage.DEBATE and not record.has_quorum(state, closed):
        return _below_quorum(state, closed.stage, present=record.turnout(closed))
    if closed.stage is Stage.BALLOT:
        return _synthesis(state)
    if _debate_is_due(state, closed, closed.tally):
        return _ask(state, Stage.DEBATE, TurnKind.ANSWER)
    return _vote(state, closed.tally)


def _debate_is_due(state: RunState, closed: RoundState, tally: Tally) -> bool:
    protocol = state.protocol
    held = sum(round_.stage is Stage.DEBATE for round_ in state.rounds)
    return (
        Stage.DEBATE in protocol.stages
        and held < protocol.rounds
        and tally.agreement.modal_share < protocol.agree_at
        and len(record.present(state)) >= 2
        and (held == 0 or any(flip.round == closed.number for flip in record.flips(state)))
    )


def _vote(state: RunState, tally: Tally) -> Step:
    if Stage.BALLOT not in state.protocol.stages or _unanimous(state, tally):
        return _synthesis(state)
    if _quorum_out_of_reach(state):
        return _below_quorum(state, Stage.BALLOT, present=len(record.present(state)))
    return _ask(state, Stage.BALLOT, TurnKind.BALLOT)


def _unanimous(state: RunState, tally: Tally) -> bool:
    """One candidate is all there is, or every answer holds the same one."""
    held = tally.agreement.positions
    everyone = len(held) == len(record.positions(state))
    return len(tally.candidates) <= 1 or (everyone and len(set(held.values())) == 1)


def _below_quorum(state: RunState, stage: Stage, present: int) -> Step:
    if state.protocol.policy is QuorumPolicy.REFUSE:
        return _fail(state, "quorum_not_met", _quorum_note(state, stage, present))
    if not record.positions(state):
        return _fail(state, "no_answers", "No seat gave an answer.")
    return _synthesis(state)


def _synthesis(state: RunState) -> Step:
    """Ask for the synthesis and the minority reports at once; conclude when nobody is left to write."""
    chair, here = record.chair(state), {seat.id for seat in record.present(state)}
    writer = NewTurn(seat=chair.id, kind=TurnKind.SYNTHESIS) if chair else None
    if writer is None and (seat := _stand_in(state)):
        writer = NewTurn(seat=seat.id, kind=TurnKind.SYNTHESIS, ordinal=1)
    if writer is None:
        return _conclude(state)
    reports = (NewTurn(seat=seat, kind=TurnKind.DISSENT) for seat in record.dissenters(state) if seat in here)
    return Ask(number=len(state.rounds) + 1, stage=Stage.SYNTHESIS, turns=(writer, *reports))


# --- the end ----------------------------------------------------------------------------------------------------------


def _cut_short(state: RunState) -> bool:
    return state.exhausted is not None and not any(map(record.completed, record.synthesis_turns(state)))


def _conclude_exhausted(state: RunState) -> Conclude:
    """Call only when ``exhausted`` is set."""
    reason = state.exhausted or ""
    opened = bool(state.rounds) and record.has_quorum(state, state.rounds[0])
    if opened and record.final_tally(state):
        return _conclude(state)
    return _fail(state, reason, f"{EXHAUSTED[reason]} before a quorum had answered.")


def _conclude(state: RunState) -> Conclude:
    if _cut_short(state) or _degraded_stage(state):
        outcome = Outcome.PARTIAL
    else:
        outcome = Outcome.DECIDED if _winner(state) else Outcome.NO_CONSENSUS
    return Conclude(status="completed", outcome=outcome, notes=_notes(state))


def _winner(state: RunState) -> str | None:
    tally = record.final_tally(state)
    return tally.winner if tally else None


def _fail(state: RunState, reason: str, *notes: str) -> Conclude:
    return Conclude(status="failed", reason=reason, notes=(*notes, *_missing_notes(state)))


def _degraded_stage(state: RunState) -> tuple[Stage, int] | None:
    """The stage in which the quorum was missed and how many were there, if the run went on without it."""
    for round_ in state.rounds:
        if round_.stage in {Stage.OPENING, Stage.BALLOT} and not record.has_quorum(state, round_):
            return round_.stage, record.turnout(round_)
    tally = record.latest_tally(state)
    voted = any(round_.stage is Stage.BALLOT for round_ in state.rounds)
    wanted = Stage.BALLOT in state.protocol.stages and not voted and not (tally and _unanimous(state, tally))
    if wanted and not _cut_short(state):
        return Stage.BALLOT, len(record.present(state))
    return None


def _notes(state: RunState) -> tuple[str, ...]:
    notes: list[str] = []
    if _cut_short(state):
        notes.append(_exhausted_note(state))
    if degraded := _degraded_stage(state):
        notes.append(_quorum_note(state, *degraded))
    if notes and _winner(state) is None:
        notes.append("No candidate was elected.")
    return (*notes, *_missing_notes(state), *_writer_notes(state))


def _exhausted_note(state: RunState) -> str:
    last = state.rounds[-1]
    moment = "after" if all(map(record.completed, last.turns)) else "during"
    return f"{EXHAUSTED[state.exhausted or '']} {moment} {STAGE_NAMES[last.stage]}; the council decided on what it had."


def _quorum_note(state: RunState, stage: Stage, present: int) -> str:
    needed = record.quorum_size(state.protocol, len(record.voters(state)))
    total = len(record.voters(state))
    return f"{STAGE_NAMES[stage].capitalize()} had no quorum: {present} of {total} seats, {needed} needed."


def _missing_notes(state: RunState) -> tuple[str, ...]:
    return tuple(
        f"{record.seat_label(state, seat)} was missing from {STAGE_NAMES[stage]}."
        for seat, stage in record.missing_seats(state)
    )


def _writer_notes(state: RunState) -> tuple[str, ...]:
    attempts = record.synthesis_turns(state)
    writer = next((turn for turn in attempts if record.completed(turn)), None)
    if writer is None:
        return ("Nobody wrote a synthesis: the answer is the leading one verbatim.",) if _winner(state) else ()
    if writer.ordinal:
        return (f"{record.seat_label(state, writer.seat or '')} wrote the synthesis in place of the chair.",)
    return ()
