"""What one turn may know. Everything a seat reads is put together here and nowhere else, so that this is the file to read when
the question is what could leak: names, roles, counts and confidences of other seats are never taken into a context."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast
from uuid import UUID

from council import counting, evidence, sql
from council.claims import Claim
from council.deliberation import citations, prompts
from council.deliberation.protocol import final_tally, positions
from council.deliberation.types import (
    Answer,
    Candidate,
    Evidence,
    RoundState,
    RunState,
    Stage,
    TurnContext,
    TurnKind,
    UserMessage,
)
from council.models import Run, Turn
from council.state import load

HISTORY = 3  # earlier decisions that a follow-up reads


@dataclass(frozen=True, slots=True)
class Assignment:
    """A claimed turn, ready to be put to ``model`` ("" = the default)."""

    context: TurnContext
    model: str
    seed: int


class _Place(NamedTuple):
    """Where the turn stands. In the order of ``_PLACE``'s columns."""

    question: str
    options: list[str]
    role: str
    instructions: str
    model: str
    evidence_k: int


_PLACE = """
    SELECT session.question, session.options::text, seat.role, seat.instructions, seat.model, (run.protocol ->> 'evidence_k')::int
    FROM council_turn AS turn
    JOIN council_councilsession AS session ON session.id = turn.session_id
    JOIN council_seat AS seat ON seat.id = turn.seat_id
    JOIN council_round AS round ON round.id = turn.round_id
    JOIN council_run AS run ON run.id = round.run_id
    WHERE turn.id = %s
"""
_MESSAGES = """
    SELECT kind, content FROM council_message WHERE session_id = %s AND delivered_in_id IS NOT NULL ORDER BY created_at, id
"""
_SHOWN = """
    SELECT turn.evidence::text FROM council_turn AS turn JOIN council_round AS round ON round.id = turn.round_id
    WHERE round.run_id = %s AND turn.seat_id = %s AND turn.kind = 'answer' AND turn.status = 'completed'
    ORDER BY round.number DESC LIMIT 1
"""


@dataclass(frozen=True)
class _Scene:
    """What the builders below choose from; the context that they return is all that the seat gets."""

    place: _Place
    claim: Claim

    @property
    def seat(self) -> str:
        return str(self.claim.seat)

    @cached_property
    def state(self) -> RunState:
        return load(self.claim.run_id)

    @cached_property
    def base(self) -> TurnContext:
        return _base(self.place, self.claim)


def prepare(claim: Claim) -> Assignment:
    """Read what the turn needs, search for the seat, and leave out what it must not see."""
    found = sql.row(_PLACE, [claim.turn_id])
    if found is None:
        raise ValueError("a tally is counted, not asked for")
    place = _Place(found[0], json.loads(found[1]), *found[2:])
    build = {
        TurnKind.ANSWER: _answer,
        TurnKind.BALLOT: _ballot,
        TurnKind.SYNTHESIS: _synthesis,
        TurnKind.DISSENT: _dissent,
    }[TurnKind(claim.kind)]
    return Assignment(build(_Scene(place, claim)), place.model, seed_of(claim))


def seed_of(claim: Claim) -> int:
    """A seed of this attempt's own, from the run's recorded one; 31 bits, as servers take them."""
    text = f"{claim.run_seed}:{claim.round_number}:{claim.kind}:{claim.seat_id}:{claim.ordinal}:{claim.attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def _base(place: _Place, claim: Claim) -> TurnContext:
    messages = sql.rows(_MESSAGES, [claim.session_id])
    return TurnContext(
        kind=TurnKind(claim.kind),
        stage=Stage(claim.stage),
        question=place.question,
        options=tuple(place.options),
        role=place.role,
        instructions=place.instructions,
        messages=tuple(UserMessage(kind=kind, content=content) for kind, content in messages),
        history=_history(claim),
    )


def _history(claim: Claim) -> tuple[str, ...]:
    """What a follow-up continues: the latest decisions before it, oldest first."""
    if claim.run_number == 1:
        return ()
    earlier = Run.objects.filter(session=claim.session_id, number__lt=claim.run_number, decision__isnull=False)
    answers = earlier.order_by("-number").values_list("decision__answer", flat=True)[:HISTORY]
    return tuple(citations.strip_marks(answer) for answer in reversed(answers))


def _answer(scene: _Scene) -> TurnContext:
    k = scene.place.evidence_k
    found = evidence.retrieve(scene.claim.session_id, prompts.search_query(scene.base), k)
    if scene.claim.stage == Stage.OPENING:
        return scene.base.model_copy(update={"evidence": found})
    # The numbers of its earlier list stand in the seat's own answer, so later finds come behind them.
    earlier = evidence_of(scene.claim)
    answers = positions(scene.state)
    own = answers.get(scene.seat)
    return scene.base.model_copy(
        update={
            "evidence": evidence.extend(earlier, found, len(earlier) + k),
            "own": own,
            "others": _others(answers, own, scene.claim),
        }
    )


def _others(answers: Mapping[str, Answer], own: Answer | None, claim: Claim) -> tuple[str, ...]:
    """The other answers: de-duplicated, unnamed, without marks (they point into another seat's list), in this seat's order."""
    texts = {_position(answer) for seat, answer in answers.items() if seat != str(claim.seat_id)}
    if own is not None:
        texts.discard(_position(own))
    return tuple(sorted(texts, key=lambda text: hashlib.sha256(f"{seed_of(claim)}:{text}".encode()).digest()))


def _position(answer: Answer) -> str:
    text = citations.strip_marks(answer.answer)
    return f"{answer.option}: {text}" if answer.option else text


def _ballot(scene: _Scene) -> TurnContext:
    present = [
        turn.seat for turn in _round(scene.state, scene.claim).turns if turn.kind == TurnKind.BALLOT and turn.seat
    ]
    texts, orders = counting.presented(scene.state, present, scene.claim.round_number)
    shown = {text.id: text for text in texts}
    own = positions(scene.state).get(scene.seat)
    found = evidence_of(scene.claim) if own is not None else ()
    return scene.base.model_copy(
        update={
            "candidates": tuple(_unsigned(shown[one]) for one in orders[scene.seat]),
            "own": own,
            "evidence": found,
        }
    )


def _unsigned(candidate: Candidate) -> Candidate:
    return candidate.model_copy(update={"seats": (), "text": citations.strip_marks(candidate.text)})


def _round(state: RunState, claim: Claim) -> RoundState:
    return next(round_ for round_ in state.rounds if round_.number == claim.round_number)


def evidence_of(claim: Claim) -> tuple[Evidence, ...]:
    """What this seat was shown when it last answered."""
    found = sql.row(_SHOWN, [claim.run_id, claim.seat])
    return tuple(Evidence.model_validate(item) for item in json.loads(found[0])) if found is not None else ()


def shown_to(turn: Turn) -> tuple[Evidence, ...]:
    return tuple(Evidence.model_validate(item) for item in cast("list[object]", turn.evidence))


def answer_turns(run_id: UUID) -> dict[str, Turn]:
    """Each seat's latest completed answer turn."""
    turns = Turn.objects.filter(round__run=run_id, kind=TurnKind.ANSWER, status="completed").select_related("round")
    return {str(turn.seat_id): turn for turn in turns.order_by("round__number")}


def _synthesis(scene: _Scene) -> TurnContext:
    """The outcome is computed already; its writer gets the reasons for it and what spoke against it, all unnamed."""
    tally = final_tally(scene.state)
    winner = next((c for c in tally.candidates if c.id == tally.winner), None) if tally else None
    holders = set(winner.seats) if winner else set()
    turns = answer_turns(scene.claim.run_id)
    answers = positions(scene.state)
    ordered = sorted(
        answers, key=lambda seat: (seat not in holders, hashlib.sha256(f"{scene.state.seed}:{seat}".encode()).digest())
    )
    joint = evidence.join([(_position_with_marks(answers[seat]), shown_to(turns[seat])) for seat in ordered])
    reasons = [text for seat, text in zip(ordered, joint.texts, strict=True) if not winner or seat in holders]
    objections = [text for seat, text in zip(ordered, joint.texts, strict=True) if winner and seat not in holders]
    rest = (item for seat in ordered for item in shown_to(turns[seat]))
    return scene.base.model_copy(
        update={
            "winner": _unsigned(winner) if winner else None,
            "reasons": tuple(dict.fromkeys(reasons)),
            "objections": tuple(dict.fromkeys(objections)),
            "candidates": () if winner or tally is None else tuple(_unsigned(one) for one in tally.candidates),
            "evidence": evidence.extend(joint.evidence, rest, evidence.JOINT_LIMIT),
            "role": "",
            "instructions": scene.base.instructions if scene.claim.ordinal == 0 else "",
        }
    )


def _position_with_marks(answer: Answer) -> str:
    return f"{answer.option}: {answer.answer}" if answer.option else answer.answer


def _dissent(scene: _Scene) -> TurnContext:
    tally = final_tally(scene.state)
    winner = next((c for c in tally.candidates if c.id == tally.winner), None) if tally else None
    return scene.base.model_copy(
        update={
            "winner": _unsigned(winner) if winner else None,
            "own": positions(scene.state).get(scene.seat),
            "evidence": evidence_of(scene.claim),
        }
    )
