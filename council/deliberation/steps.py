"""``next_step(state)``: what a run does next, as a pure and total function of its state.

A protocol is a row of stages. Every round goes the same way: its turns are asked at once, then (where votes are counted) one tally
turn, then it is closed, and only a closed round lets the run move on. What follows it is the first of its own and the later
stages that has something to ask (``ASK``, one function each, None = nothing to ask):

- *opening*: once.
- *attack*: once. One seat, which does not hold the leading answer if any such seat is there, writes the case against it; when it
  fails, another one does (ordinal 1).
- *debate*: while seats disagree, at most ``rounds`` times. The first is left out when ``agree_at`` of the seats hold one answer on
  cited evidence; a further one is held only if somebody moved or was asked something, and not once so many agree. Of estimates
  the first is left out when all are the same, and a further one once the quartiles have come to rest. An attack is always debated.
- *ballot*: once, unless every answer holds one and the same candidate, for then there is nothing to rank. Ballots that nobody has
  begun are released as soon as they could not change who wins; a person's is always awaited, for nobody knows whether it is begun.
- *tally*: asks nobody.
- *gate* (a setting, ``gates``): where the synthesis would be asked, a person is asked first whether to go on, to debate once more (and
  vote again), or to end with the count.
- *synthesis*: the chair writes (ordinal 0) while every present dissenter writes its minority report. As soon as the chair fails,
  or when there is none, one present seat is asked in its place (ordinal 1), a supporter of the winner if possible. If that
  fails too the run concludes all the same; the decision is then the top answer verbatim.
- *ratify*: the seats accept or reject the text. A text that is rejected is written once more, with what was wrong about it, and put
  to them again; a second rejection stands, and is said above the answer.

Too few completed turns in the opening or the ballot → policy ``refuse`` fails the run ("quorum_not_met"); policy ``partial`` goes to the
synthesis with what there is ("no_answers" if there is nothing). A quorum that the seats still present can no longer meet
is not waited for.

A run out of time or money (``exhausted``) asks no model again, counts what it has and concludes: ``partial`` when the opening
had a quorum, else failed with that reason. A synthesis completed before the end makes it an ordinary conclusion.

The caller cancels running and pending turns when a run is exhausted; until they are terminal the answer is ``Wait``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256

from council.deliberation import ending, estimates, gates, record
from council.deliberation.settled import settled
from council.deliberation.types import (
    Ask,
    CloseRound,
    NewTurn,
    QuorumPolicy,
    Release,
    RoundState,
    RunState,
    SeatState,
    Stage,
    Step,
    Tally,
    TurnKind,
    TurnState,
    TurnStatus,
    Wait,
)

TALLY = NewTurn(seat=None, kind=TurnKind.TALLY)
WRITING = (Stage.TALLY, Stage.GATE, Stage.SYNTHESIS, Stage.RATIFY)  # what comes once nothing more is to be counted


def next_step(state: RunState) -> Step:
    """The next step of a run; pure, total, and the end of every run is reached by repeating it. Not for stopped runs."""
    if not state.rounds:
        return ending.conclude_exhausted(state) if state.exhausted else _first_of(state, _stages(state))
    current = state.rounds[-1]
    if not current.closed:
        return _in_round(state, current)
    if ending.cut_short(state):
        return ending.conclude_exhausted(state)
    return _broken_off(state, current) or _first_of(state, _from(state, current.stage))


def _from(state: RunState, stage: Stage) -> tuple[Stage, ...]:
    order = list(Stage)
    return tuple(one for one in _stages(state) if order.index(one) >= order.index(stage))


def _stages(state: RunState) -> tuple[Stage, ...]:
    """The protocol's, and the gate where it has one."""
    if state.protocol.gate is None:
        return state.protocol.stages
    return tuple(stage for stage in Stage if stage is Stage.GATE or stage in state.protocol.stages)


def _first_of(state: RunState, stages: tuple[Stage, ...]) -> Step:
    """What the first of these stages that has something to ask asks; the end when none has."""
    return next((step for stage in stages if (step := ASK[stage](state))), None) or ending.conclude(state)


# --- inside a round ---------------------------------------------------------------------------------------------------


def _in_round(state: RunState, current: RoundState) -> Step:
    if stand_in := _stand_in_turn(state, current):
        return Ask(number=current.number, stage=current.stage, turns=(stand_in,))
    if out := tuple(turn for turn in current.turns if not turn.status.terminal):
        return _released(state, current, out) or Wait()
    if current.stage in record.COUNTED:
        return _count_round(state, current)
    return CloseRound(number=current.number)


def _count_round(state: RunState, current: RoundState) -> Step:
    tally = record.tally_turn(current)
    if tally is None:
        return Ask(number=current.number, stage=current.stage, turns=(TALLY,))
    if record.completed(tally) or (state.exhausted and tally.status is TurnStatus.CANCELLED):
        return CloseRound(number=current.number)
    return ending.fail(state, "tally_failed", f"The votes of {ending.STAGE_NAMES[current.stage]} could not be counted.")


def _released(state: RunState, current: RoundState, out: tuple[TurnState, ...]) -> Release | None:
    """Ballots that nobody is writing now are not asked for (again) when they could not change who wins; one that is being written
    is paid for already, and read. Whether a person has begun cannot be known, so they are always awaited."""
    people = {seat.id for seat in state.seats if seat.human}
    begun = any(turn.status is not TurnStatus.PENDING or turn.seat in people for turn in out)
    waiting = current.stage is Stage.BALLOT and not begun
    voting = waiting and all(turn.kind is TurnKind.BALLOT for turn in out) and record.has_quorum(state, current)
    if voting and settled(state, current, len(out)):
        return Release(number=current.number, turns=tuple(turn.id for turn in out))
    return None


def _stand_in_turn(state: RunState, current: RoundState) -> NewTurn | None:
    """The turn to add when the one who writes for the table could not; asked at once, without waiting for minority reports."""
    kind, choose = _WRITERS.get(current.stage, (None, None))
    if kind is None or choose is None or state.exhausted:
        return None
    tried = [turn for turn in current.turns if turn.kind is kind]
    lost = all(turn.status.terminal and not record.completed(turn) for turn in tried)
    if not lost or any(turn.ordinal == 1 for turn in tried):
        return None
    writer = choose(state, {turn.seat for turn in tried})
    return NewTurn(seat=writer.id, kind=kind, ordinal=1) if writer else None


def _stand_in(state: RunState, _tried: set[str | None]) -> SeatState | None:
    """Nobody waits for a person to write for the table: without a model that could, the leading answer stands as it is."""
    against = set(record.dissenters(state))
    models = (seat for seat in record.present(state) if not seat.human)
    return min(models, key=lambda seat: seat.id in against, default=None)


def _attacker(state: RunState, tried: set[str | None]) -> SeatState | None:
    """Somebody who does not hold the leading answer has a case of its own to make; else the recorded seed decides."""
    leading, held = ending.winner(state), _held(state)

    def order(seat: SeatState) -> tuple[bool, bytes]:
        return held.get(seat.id) == leading, sha256(f"{state.seed}:attack:{seat.position}".encode()).digest()

    return min((seat for seat in record.present(state) if seat.id not in tried), key=order, default=None)


_WRITERS: Mapping[Stage, tuple[TurnKind, Callable[[RunState, set[str | None]], SeatState | None]]] = {
    Stage.SYNTHESIS: (TurnKind.SYNTHESIS, _stand_in),
    Stage.ATTACK: (TurnKind.ATTACK, _attacker),
}


def _held(state: RunState) -> Mapping[str, str]:
    tally = record.latest_tally(state)
    return tally.agreement.positions if tally else {}


# --- from round to round ----------------------------------------------------------------------------------------------


def _broken_off(state: RunState, closed: RoundState) -> Step | None:
    """What follows a round that the run cannot simply go on from."""
    if closed.stage in record.COUNTED and closed.tally is None:  # nothing to go by, which only a broken record can show
        return ending.fail(
            state, "tally_failed", f"The votes of {ending.STAGE_NAMES[closed.stage]} could not be counted."
        )
    if closed.stage in {Stage.OPENING, Stage.BALLOT} and not record.has_quorum(state, closed):
        return _below_quorum(state, closed.stage, present=record.turnout(closed))
    return _past_gate(state, closed) if closed.stage is Stage.GATE else None


def _past_gate(state: RunState, closed: RoundState) -> Step | None:
    """None to go on to the text, which is also what a debate that cannot be held comes to."""
    if gates.ended_there(state):
        return ending.conclude(state)
    answer = gates.answer_to(closed)
    wanted = answer is not None and answer.decision == "debate" and not gates.why_no_debate(state)
    return _ask(state, Stage.DEBATE, TurnKind.ANSWER) if wanted else None


def _opening(state: RunState) -> Step | None:
    if state.rounds:
        return None
    if not record.voters(state) or _quorum_out_of_reach(state):
        return _below_quorum(state, Stage.OPENING, present=len(record.voters(state)))
    return _ask(state, Stage.OPENING, TurnKind.ANSWER)


def _attack(state: RunState) -> Step | None:
    attacker = _attacker(state, set())
    if attacker is None or ending.winner(state) is None or record.rounds_of(state, Stage.ATTACK):
        return None
    turn = NewTurn(seat=attacker.id, kind=TurnKind.ATTACK)
    return Ask(number=len(state.rounds) + 1, stage=Stage.ATTACK, turns=(turn,))


def _debate(state: RunState) -> Step | None:
    held = len(record.rounds_of(state, Stage.DEBATE))
    if held >= state.protocol.rounds or len(record.present(state)) < 2 or gates.latest(state):
        return None
    due = _another_debate(state) if held else _first_debate(state)
    return _ask(state, Stage.DEBATE, TurnKind.ANSWER) if due else None


def _ballot(state: RunState) -> Step | None:
    tally = record.latest_tally(state)
    if tally is None or gates.since(state, Stage.BALLOT) or record.unanimous(state, tally):
        return None
    if _quorum_out_of_reach(state):
        return _below_quorum(state, Stage.BALLOT, present=len(record.present(state)))
    return _ask(state, Stage.BALLOT, TurnKind.BALLOT)


def _nothing(_state: RunState) -> Step | None:
    return None


def _gate(state: RunState) -> Step | None:
    """Where the synthesis would be asked. It is passed when it is the round that was just closed (``_past_gate``)."""
    if state.rounds[-1].stage is Stage.GATE or _synthesis(state) is None:
        return None
    turn = NewTurn(seat=None, kind=TurnKind.GATE)
    return Ask(number=len(state.rounds) + 1, stage=Stage.GATE, turns=(turn,))


def _synthesis(state: RunState) -> Step | None:
    """Ask for the synthesis and the minority reports at once; nobody when nobody is left to write."""
    writer = None if record.rounds_of(state, Stage.SYNTHESIS) else _writer(state)
    if writer is None:
        return None
    here = {seat.id for seat in record.present(state)}
    reports = (NewTurn(seat=seat, kind=TurnKind.DISSENT) for seat in record.dissenters(state) if seat in here)
    return Ask(number=len(state.rounds) + 1, stage=Stage.SYNTHESIS, turns=(writer, *reports))


def _ratify(state: RunState) -> Step | None:
    """Put the text to the seats; have it written again when they reject the first one."""
    if state.exhausted or record.written(state) is None:
        return None
    verdict = record.ratification(state)
    if verdict is None:
        return _ask(state, Stage.RATIFY, TurnKind.RATIFY) if record.present(state) else None
    revise = not verdict.ratified and verdict.rejected and len(record.rounds_of(state, Stage.SYNTHESIS)) == 1
    writer = _writer(state) if revise else None
    return Ask(number=len(state.rounds) + 1, stage=Stage.SYNTHESIS, turns=(writer,)) if writer else None


ASK: Mapping[Stage, Callable[[RunState], Step | None]] = {
    Stage.OPENING: _opening,
    Stage.ATTACK: _attack,
    Stage.DEBATE: _debate,
    Stage.BALLOT: _ballot,
    Stage.TALLY: _nothing,
    Stage.GATE: _gate,
    Stage.SYNTHESIS: _synthesis,
    Stage.RATIFY: _ratify,
}


def _ask(state: RunState, stage: Stage, kind: TurnKind) -> Ask:
    turns = tuple(NewTurn(seat=seat.id, kind=kind) for seat in record.present(state))
    return Ask(number=len(state.rounds) + 1, stage=stage, turns=turns)


def _writer(state: RunState) -> NewTurn | None:
    if chair := record.chair(state):
        return NewTurn(seat=chair.id, kind=TurnKind.SYNTHESIS)
    seat = _stand_in(state, set())
    return NewTurn(seat=seat.id, kind=TurnKind.SYNTHESIS, ordinal=1) if seat else None


def _quorum_out_of_reach(state: RunState) -> bool:
    """Fewer seats are left than a stage needs. Under ``partial`` an opening is worth its while with a single answer."""
    needed = record.quorum_size(state.protocol, len(record.voters(state)))
    if not state.rounds and state.protocol.policy is QuorumPolicy.PARTIAL:
        needed = 1
    return len(record.present(state)) < needed


def _first_debate(state: RunState) -> bool:
    tally = record.latest_tally(state)
    if tally is None:
        return False
    if any(map(record.completed, (turn for one in record.rounds_of(state, Stage.ATTACK) for turn in one.turns))):
        return True
    if tally.estimates is not None:
        return tally.estimates.low < tally.estimates.high
    return _cited_share(state, tally) < state.protocol.agree_at


def _cited_share(state: RunState, tally: Tally) -> float:
    """Share of the seats that hold the most common position and rest it on evidence."""
    held = tally.agreement.positions
    resting = {turn.seat for turn in state.rounds[0].turns if turn.grounded}
    holders = [sum(held[seat] == one and seat in resting for seat in held) for one in set(held.values())]
    return max(holders, default=0) / len(held) if held else 0.0


def _another_debate(state: RunState) -> bool:
    *_, before, now = (round_ for round_ in state.rounds if round_.stage in {Stage.OPENING, Stage.DEBATE})
    if before.tally is None or now.tally is None:
        return False
    scale, was, found = state.protocol.estimate, before.tally.estimates, now.tally.estimates
    if scale is not None:
        return (
            was is not None and found is not None and not estimates.stable(was, found, scale, state.protocol.stable_at)
        )
    moved = any(flip.round == now.number for flip in record.flips(state)) or bool(record.open_questions(state))
    return moved and now.tally.agreement.modal_share < state.protocol.agree_at


def _below_quorum(state: RunState, stage: Stage, present: int) -> Step:
    if state.protocol.policy is QuorumPolicy.REFUSE:
        return ending.fail(state, "quorum_not_met", ending.quorum_note(state, stage, present))
    if not record.positions(state):
        return ending.fail(state, "no_answers", "No seat gave an answer.")
    return _first_of(state, tuple(one for one in _stages(state) if one in WRITING))
