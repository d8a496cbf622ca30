"""What a run's state says, read without changing it: who sits, who answered, who is missing, what was counted.

Names: a *voter* is a seat other than the chair; a voter is *present* while every answer, ballot and verdict that it was asked for has
been given (or is still open), so a seat that failed once is not waited for again; *terminal* turns are completed, failed or
cancelled; a turn that was *released* was not needed any more, and counts as neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import NamedTuple

from council.deliberation.ballots import normalise, option_of
from council.deliberation.types import (
    Answer,
    Candidate,
    Persuasion,
    Protocol,
    Question,
    Reply,
    RoundState,
    RunState,
    SeatState,
    Stage,
    Tally,
    TurnKind,
    TurnState,
    TurnStatus,
)

COUNTED = frozenset({Stage.OPENING, Stage.DEBATE, Stage.BALLOT})  # stages that end with a tally
VOTER_TURNS = frozenset({TurnKind.ANSWER, TurnKind.BALLOT, TurnKind.RATIFY})


class Flip(NamedTuple):
    """A seat that left its position in a debate. ``before`` and ``after`` are candidate ids ("" when it held none)."""

    seat: str
    round: int
    before: str
    after: str
    because: str
    persuaded_by: Persuasion | None = None


class Ratification(NamedTuple):
    """What the seats said of the text that stands. ``revised``: it is the second one, written after they rejected the first."""

    accepted: int
    rejected: int
    ratified: bool
    revised: bool


# --- seats ------------------------------------------------------------------------------------------------------------


def voters(state: RunState) -> tuple[SeatState, ...]:
    """The seats that answer and vote, in position order."""
    return tuple(sorted((seat for seat in state.seats if not seat.chair), key=lambda seat: (seat.position, seat.id)))


def chair(state: RunState) -> SeatState | None:
    return min((seat for seat in state.seats if seat.chair), key=lambda seat: (seat.position, seat.id), default=None)


def present(state: RunState) -> tuple[SeatState, ...]:
    """Voters that no turn has failed for so far, in position order."""
    lost = {turn.seat for turn in _turns(state) if turn.kind in VOTER_TURNS and _was_lost(turn)}
    return tuple(seat for seat in voters(state) if seat.id not in lost)


def seat_label(state: RunState, seat_id: str) -> str:
    """What sentences call a seat: "Seat A", "Seat B", .. for voters by position ("Seat AA" after Z), "The chair"."""
    order = [seat.id for seat in voters(state)]
    if seat_id not in order:
        return "The chair"
    letters, n = "", order.index(seat_id) + 1
    while n:
        n, letter = divmod(n - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"Seat {letters}"


def quorum_size(protocol: Protocol, voters: int) -> int:
    """Completed turns that a stage needs: as the protocol says, or max(2, ⌈voters / 2⌉)."""
    return protocol.quorum or max(2, ceil(voters / 2))


# --- turns ------------------------------------------------------------------------------------------------------------


def completed(turn: TurnState) -> bool:
    return turn.status is TurnStatus.COMPLETED


def _was_lost(turn: TurnState) -> bool:
    return turn.status.terminal and not completed(turn) and not turn.released


def rounds_of(state: RunState, stage: Stage) -> tuple[RoundState, ...]:
    return tuple(round_ for round_ in state.rounds if round_.stage is stage)


def _turns(state: RunState) -> Iterator[TurnState]:
    return (turn for round_ in state.rounds for turn in round_.turns)


def tally_turn(round_: RoundState) -> TurnState | None:
    return next((turn for turn in round_.turns if turn.kind is TurnKind.TALLY), None)


def turnout(round_: RoundState) -> int:
    """Completed turns of voters in a round; an abstention is one."""
    return sum(turn.kind in VOTER_TURNS and completed(turn) for turn in round_.turns)


def has_quorum(state: RunState, round_: RoundState) -> bool:
    return turnout(round_) >= quorum_size(state.protocol, len(voters(state)))


def synthesis_turns(state: RunState) -> tuple[TurnState, ...]:
    """Attempts at the synthesis in order: the chair's (ordinal 0), then the stand-in's (ordinal 1), then those at a revision."""
    return tuple(
        turn
        for round_ in rounds_of(state, Stage.SYNTHESIS)
        for turn in sorted(round_.turns, key=lambda turn: turn.ordinal)
        if turn.kind is TurnKind.SYNTHESIS
    )


def written(state: RunState) -> TurnState | None:
    """The turn that wrote the text that stands: the latest completed one."""
    return next((turn for turn in reversed(synthesis_turns(state)) if completed(turn)), None)


def ratification(state: RunState) -> Ratification | None:
    """The seats' verdict on the text that stands, None when nobody was asked about it.

    More than half of the verdicts must accept, and they need a quorum.
    """
    asked = rounds_of(state, Stage.RATIFY)
    if not asked or (written_in := _round_written(state)) is None or asked[-1].number < written_in:
        return None
    verdicts = [turn.verdict.accept for turn in asked[-1].turns if completed(turn) and turn.verdict is not None]
    ratified = has_quorum(state, asked[-1]) and 2 * sum(verdicts) > len(verdicts)
    revised = written_in != rounds_of(state, Stage.SYNTHESIS)[0].number
    return Ratification(sum(verdicts), len(verdicts) - sum(verdicts), ratified, revised)


def _round_written(state: RunState) -> int | None:
    text = written(state)
    return next((round_.number for round_ in state.rounds if text in round_.turns), None) if text else None


def missing_seats(state: RunState) -> tuple[tuple[str, Stage], ...]:
    """Seats whose turn failed or was cancelled, with the stage of that turn, in order of rounds and positions.

    A voter appears once for what it was to say for itself, for it is not asked again; whoever failed at a job for the table
    (an attack, the synthesis) appears for that.
    """
    place = {seat.id: (seat.position, seat.id) for seat in state.seats}
    return tuple(
        (seat, round_.stage)
        for round_ in state.rounds
        for seat in sorted(_lost_in(round_), key=lambda seat: place.get(seat, (len(place), seat)))
    )


def _lost_in(round_: RoundState) -> set[str]:
    return {turn.seat for turn in round_.turns if turn.seat and _was_lost(turn)}


# --- positions and counts ---------------------------------------------------------------------------------------------


def positions(state: RunState) -> Mapping[str, Answer]:
    """The latest completed answer of each voter that gave one; a seat that failed in a debate keeps its earlier answer."""
    latest = {
        turn.seat: turn.answer
        for turn in _turns(state)
        if turn.kind is TurnKind.ANSWER and completed(turn) and turn.seat and turn.answer
    }
    return {seat.id: latest[seat.id] for seat in voters(state) if seat.id in latest}


def latest_tally(state: RunState) -> Tally | None:
    return next((round_.tally for round_ in reversed(state.rounds) if round_.tally), None)


def final_tally(state: RunState) -> Tally | None:
    """The tally that decides: the latest one, except that a ballot without quorum counts for nothing, so that two ballots
    of seven never overrule the positions of all seven."""
    counts = (
        round_.tally
        for round_ in reversed(state.rounds)
        if round_.tally and (round_.stage is not Stage.BALLOT or has_quorum(state, round_))
    )
    return next(counts, None)


def unanimous(state: RunState, tally: Tally) -> bool:
    """One candidate is all there is, or every answer holds the same one."""
    held = tally.agreement.positions
    everyone = len(held) == len(positions(state))
    return len(tally.candidates) <= 1 or (everyone and len(set(held.values())) == 1)


def known_candidates(state: RunState) -> tuple[Candidate, ...]:
    """Every candidate that any tally of the run has counted, latest wording first: ``earlier`` of ``build_candidates``."""
    tallies = [round_.tally for round_ in reversed(state.rounds) if round_.tally]
    by_id: dict[str, Candidate] = {}
    for tally in tallies:
        for candidate in tally.candidates:
            by_id.setdefault(candidate.id, candidate)
    return tuple(by_id.values())


def dissenters(state: RunState) -> tuple[str, ...]:
    """Seats whose final position is another than the winner, in position order; nobody dissents from "no consensus"."""
    tally = final_tally(state)
    if tally is None or tally.winner is None:
        return ()
    held = tally.agreement.positions
    return tuple(seat.id for seat in voters(state) if held.get(seat.id, tally.winner) != tally.winner)


def flips(state: RunState) -> tuple[Flip, ...]:
    """Changes of position in debate rounds, in order of rounds and positions.

    For a closed question a change of option is a flip, and of an estimate any change. For an open one the text must differ *and* the
    seat must say what made it change: models rarely repeat a text word for word, and new words for an old position are no
    flip; nor are they when the count took the two texts to say the same.
    """
    found: list[Flip] = []
    before: dict[str, Answer] = {}
    held: Mapping[str, str] = {}
    for round_ in (one for one in state.rounds if one.stage in {Stage.OPENING, Stage.DEBATE}):
        answers = _answers_of(state, round_)
        now = round_.tally.agreement.positions if round_.tally else held
        for seat, answer in answers.items():
            change = (held.get(seat, ""), now.get(seat, ""))
            reworded = round_.tally is not None and change[0] == change[1] != ""
            if seat in before and _changed(state, before[seat], answer, reworded=reworded):
                cause = answer.changed_because or ""
                found.append(Flip(seat, round_.number, *change, cause, answer.persuaded_by))
        before, held = answers, now  # a seat that misses a round takes part in none after it
    return tuple(found)


def _answers_of(state: RunState, round_: RoundState) -> dict[str, Answer]:
    given = {turn.seat: turn.answer for turn in round_.turns if turn.kind is TurnKind.ANSWER and completed(turn)}
    answers = ((seat.id, given.get(seat.id)) for seat in voters(state))
    return {seat: answer for seat, answer in answers if answer is not None}


def _changed(state: RunState, before: Answer, after: Answer, *, reworded: bool) -> bool:
    if state.options:
        return option_of(state.options, before) != option_of(state.options, after)
    if state.protocol.estimate is not None:
        return before.estimate != after.estimate
    return bool(after.changed_because) and normalise(before.answer) != normalise(after.answer) and not reworded


def open_questions(state: RunState) -> tuple[tuple[str, str], ...]:
    """(seat, question) of what was asked in the latest debate round: to be delivered in the next turn of that seat."""
    here = {seat.id for seat in present(state)}
    return tuple((one.seat, one.text) for _, one in _asked_before(state, len(state.rounds) + 1) if one.seat in here)


def _asked_before(state: RunState, number: int) -> tuple[tuple[str, Question], ...]:
    """(asker, question) of the last debate before round ``number``."""
    debates = [round_ for round_ in rounds_of(state, Stage.DEBATE) if round_.number < number]
    answers = _answers_of(state, debates[-1]) if debates else {}
    return tuple((seat, question) for seat, answer in answers.items() for question in answer.questions)


def questions_to(state: RunState, seat: str, number: int) -> tuple[tuple[str, str], ...]:
    """(asker, question) of what is delivered to a seat in round ``number``, in the order in which it reads it."""
    return tuple((asker, one.text) for asker, one in _asked_before(state, number) if one.seat == seat)


def replies_to(state: RunState, asker: str, number: int) -> tuple[Reply, ...]:
    """What others replied, in the last debate before round ``number``, to the questions of ``asker``."""
    debates = [round_ for round_ in rounds_of(state, Stage.DEBATE) if round_.number < number]
    found = []
    for seat, answer in (_answers_of(state, debates[-1]) if debates else {}).items():
        asked = questions_to(state, seat, debates[-1].number)
        found += [
            one for one in answer.replies if 1 <= one.question <= len(asked) and asked[one.question - 1][0] == asker
        ]
    return tuple(found)
