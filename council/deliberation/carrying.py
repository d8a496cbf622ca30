"""What of a run can stand in another one: which rounds, which seats have to be asked again, and what seats said in other seats' terms.

Pure, so that a fork says beforehand what its start will do. A round depends on those before it; hence what is kept are the first rounds
of a run, up to the first one that has to be held anew, and of an opening or a debate those answers that nothing speaks against.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from council.deliberation import ballots as b
from council.deliberation import record
from council.deliberation.types import Answer, Ballot, Candidate, RoundState, RunState, Stage, TurnKind, TurnStatus

ANSWERING = frozenset({Stage.OPENING, Stage.DEBATE})
WRITTEN = frozenset({Stage.SYNTHESIS, Stage.RATIFY})


@dataclass(frozen=True, slots=True)
class Kept:
    """Rounds 1 to ``rounds`` are kept, the last of them without the answers of ``asked_again``."""

    rounds: int = 0
    asked_again: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def new_from(self) -> int:
        """The first round in which something is new."""
        return self.rounds if self.asked_again else self.rounds + 1


def can_stand(round_: RoundState) -> bool:
    """Whether a round ended of itself. One that was broken off (a stop) has no count, or turns that were cancelled."""
    if not round_.closed:
        return False
    if round_.stage in record.COUNTED:
        return round_.tally is not None
    return not any(turn.status is TurnStatus.CANCELLED and not turn.released for turn in round_.turns)


def keep(state: RunState, after: int, without: Collection[str], tainted: Mapping[int, Collection[str]]) -> Kept:
    """What stands of rounds 1 to ``after`` once the seats ``without`` are gone and what ``tainted`` (round -> seats) said is void."""
    notes: list[str] = []
    for round_ in state.rounds[:after]:
        if why := _undone(state, round_, without):
            return Kept(round_.number - 1, notes=(*notes, why))
        touched = [seat for seat in tainted.get(round_.number, ()) if seat not in without]
        if touched and round_.stage in ANSWERING:
            return Kept(round_.number, _in_order(state, touched), tuple(notes))
        if touched:
            why = f"Round {round_.number} ({round_.stage}) rests on what was withdrawn and is held anew."
            return Kept(round_.number - 1, notes=(*notes, why))
        if without and round_.stage is Stage.DEBATE:
            notes.append(
                f"In round {round_.number} the others had read the seats that are left out, and may answer them."
            )
    return Kept(after, notes=tuple(notes))


def _undone(state: RunState, round_: RoundState, without: Collection[str]) -> str:
    """Why nothing of this round can stand without these seats; "" when it can."""
    if not without:
        return ""
    if round_.stage in WRITTEN:
        return (
            f"Round {round_.number} ({round_.stage}) is about a text that was written for all seats, and is held anew."
        )
    if round_.stage is Stage.GATE:
        return f"Round {round_.number} (gate) was about the count of all seats, and a person is asked anew."
    if round_.stage is Stage.ATTACK and any(turn.attack and turn.seat in without for turn in round_.turns):
        return f"Round {round_.number} (attack) was the work of a seat that is left out, and is held anew."
    answers = record.positions(state.model_copy(update={"rounds": state.rounds[: round_.number]}))
    if round_.stage in record.COUNTED and not set(answers) - set(without):
        return f"Of round {round_.number} ({round_.stage}) no answer is left, and it is held anew."
    return ""


def _in_order(state: RunState, seats: Collection[str]) -> tuple[str, ...]:
    return tuple(seat.id for seat in state.seats if seat.id in seats)


# --- in other seats' terms --------------------------------------------------------------------------------------------


def answer_for(state: RunState, number: int, seat: str, answer: Answer, seats: Mapping[str, str]) -> Answer:
    """``seat``'s answer of round ``number`` among the ``seats`` (old id -> new id) that are kept: questions to the others are gone, and so
    are replies to theirs; what is left is numbered as it will be read."""
    asked = record.questions_to(state, seat, number)
    numbers = _renumbered([asker in seats for asker, _ in asked])
    return answer.model_copy(
        update={
            "questions": tuple(
                one.model_copy(update={"seat": seats.get(one.seat or "")})
                for one in answer.questions
                if one.seat is None or one.seat in seats
            ),
            "replies": tuple(
                one.model_copy(update={"question": numbers[one.question]})
                for one in answer.replies
                if one.question in numbers
            ),
        }
    )


def _renumbered(kept: Sequence[bool]) -> dict[int, int]:
    places = [n for n, here in enumerate(kept, start=1) if here]
    return {old: new for new, old in enumerate(places, start=1)}


def position_of(answer: Answer) -> Answer:
    """An answer as a position to start from, without what belonged to the debate in which it was given."""
    return answer.model_copy(update={"questions": (), "replies": (), "changed_because": None, "persuaded_by": None})


def text_ids(before: Sequence[Candidate], after: Sequence[Candidate]) -> dict[str, str]:
    """Ids of the texts on a ballot as they were -> as they are; those that nobody holds any more are left out."""
    now = {_key(one): one.id for one in after}
    return {one.id: now[_key(one)] for one in before if _key(one) in now}


def _key(text: Candidate) -> str:
    return text.option if text.option is not None else b.normalise(text.text)


def ballot_for(ballot: Ballot, ids: Mapping[str, str], own: Collection[str]) -> Ballot:
    """The ballot over the texts that are left, without those that by now are the voter's ``own`` alone. One that ranks nothing any more
    is an abstention: about what is left it says nothing."""
    left = {old: new for old, new in ids.items() if new not in own}
    ranking = tuple(left[one] for one in ballot.ranking if one in left)
    scores = {left[one]: score for one, score in ballot.scores.items() if one in left} if ranking else {}
    return Ballot(ranking=ranking, scores=scores, abstain=not ranking)


def turns_kept(round_: RoundState, seats: Collection[str], asked_again: Collection[str]) -> set[str]:
    """Ids of the turns of a round that can be copied."""
    return {
        turn.id
        for turn in round_.turns
        if (turn.kind in {TurnKind.TALLY, TurnKind.GATE} and not asked_again)
        or (turn.seat in seats and turn.seat not in asked_again)
    }
