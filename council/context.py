"""What one turn may know. Everything a seat reads is put together here and nowhere else, so that this is the file to read when
the question is what could leak: names, roles, counts and confidences of other seats are never taken into a context."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from council import counting, evidence
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
from council.models import Message, Run, Seat, Turn
from council.state import load, protocol_of

HISTORY = 3  # earlier decisions that a follow-up reads


@dataclass(frozen=True, slots=True)
class Assignment:
    """A claimed turn, ready to be put to a model."""

    context: TurnContext
    seat: Seat
    seed: int


@dataclass(frozen=True)
class _Scene:
    """What the builders below choose from; the context that they return is all that the seat gets."""

    turn: Turn
    claim: Claim

    @property
    def run(self) -> Run:
        return self.turn.round.run

    @property
    def seat(self) -> str:
        return str(self.claim.seat_id)

    @cached_property
    def state(self) -> RunState:
        return load(self.claim.run_id)

    @cached_property
    def base(self) -> TurnContext:
        return _base(self.turn, self.claim)


def prepare(claim: Claim) -> Assignment:
    """Read what the turn needs, search for the seat, and leave out what it must not see."""
    turn = Turn.objects.select_related("session", "seat", "round__run").get(pk=claim.turn_id)
    if turn.seat is None:
        raise ValueError("a tally is counted, not asked for")
    build = {
        TurnKind.ANSWER: _answer,
        TurnKind.BALLOT: _ballot,
        TurnKind.SYNTHESIS: _synthesis,
        TurnKind.DISSENT: _dissent,
    }[TurnKind(claim.kind)]
    return Assignment(build(_Scene(turn, claim)), turn.seat, seed_of(claim))


def seed_of(claim: Claim) -> int:
    """A seed of this attempt's own, from the run's recorded one; 31 bits, as servers take them."""
    text = f"{claim.run_seed}:{claim.round_number}:{claim.kind}:{claim.seat_id}:{claim.ordinal}:{claim.attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def _base(turn: Turn, claim: Claim) -> TurnContext:
    session, seat = turn.session, cast("Seat", turn.seat)
    delivered = Message.objects.filter(session=session, delivered_in__isnull=False).order_by("created_at", "id")
    return TurnContext(
        kind=TurnKind(claim.kind),
        stage=Stage(claim.stage),
        question=session.question,
        options=tuple(session.options),
        role=seat.role,
        instructions=seat.instructions,
        messages=tuple(_message(message) for message in delivered),
        history=_history(turn.round.run),
    )


def _history(run: Run) -> tuple[str, ...]:
    """What a follow-up continues: the latest decisions before it, oldest first."""
    if run.number == 1:
        return ()
    earlier = Run.objects.filter(session=run.session_id, number__lt=run.number, decision__isnull=False)
    answers = earlier.order_by("-number").values_list("decision__answer", flat=True)[:HISTORY]
    return tuple(citations.strip_marks(answer) for answer in reversed(answers))


def _message(message: Message) -> UserMessage:
    return UserMessage.model_validate({"kind": message.kind, "content": message.content})


def _answer(scene: _Scene) -> TurnContext:
    k = protocol_of(scene.run).evidence_k
    found = evidence.retrieve(scene.turn.session, prompts.search_query(scene.base), k)
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
    turn = (
        Turn.objects.filter(round__run_id=claim.run_id, seat_id=claim.seat, kind=TurnKind.ANSWER, status="completed")
        .order_by("-round__number")
        .first()
    )
    return shown_to(turn) if turn is not None else ()


def shown_to(turn: Turn) -> tuple[Evidence, ...]:
    return tuple(Evidence.model_validate(item) for item in cast("list[object]", turn.evidence))


def answer_turns(run: Run) -> dict[str, Turn]:
    """Each seat's latest completed answer turn."""
    turns = Turn.objects.filter(round__run=run, kind=TurnKind.ANSWER, status="completed").select_related("round")
    return {str(turn.seat_id): turn for turn in turns.order_by("round__number")}


def _synthesis(scene: _Scene) -> TurnContext:
    """The outcome is computed already; its writer gets the reasons for it and what spoke against it, all unnamed."""
    tally = final_tally(scene.state)
    winner = next((c for c in tally.candidates if c.id == tally.winner), None) if tally else None
    holders = set(winner.seats) if winner else set()
    turns = answer_turns(scene.run)
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
