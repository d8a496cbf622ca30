"""What one turn may know. Everything a seat reads is put together here and nowhere else, so that this is the file to read when
the question is what could leak: names, roles, counts and confidences of other seats are never taken into a context."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from council import counting, evidence, revisiting
from council.claims import Claim
from council.deliberation import citations, prompts
from council.deliberation.neighbours import neighbours
from council.deliberation.protocol import final_tally, positions, questions_to, replies_to
from council.deliberation.record import latest_tally, rounds_of
from council.deliberation.tools import MOST_K
from council.deliberation.types import (
    Answer,
    Candidate,
    Evidence,
    RoundState,
    RunState,
    Stage,
    TurnContext,
    TurnKind,
)
from council.desk import Desk, Place
from council.evidence import shown_to
from council.models import Turn


@dataclass(frozen=True, slots=True)
class Assignment:
    """A claimed turn, ready to be put to a model."""

    context: TurnContext
    seed: int
    addressees: tuple[
        str, ...
    ] = ()  # the seats behind ``context.others``, for questions to them; no seat gets to see this


def deliver(answer: Answer, assignment: Assignment) -> Answer:
    """The answer with its questions addressed: a seat puts them by letter, and only we know whom a letter means."""
    whom = dict(zip(prompts.addressees(assignment.context), assignment.addressees, strict=False))
    questions = tuple(one.model_copy(update={"seat": whom.get(one.to)}) for one in answer.questions)
    return answer.model_copy(update={"questions": questions})


@dataclass(frozen=True)
class _Scene:
    """What the builders below choose from; the context that they return is all that the seat gets."""

    desk: Desk
    claim: Claim
    tools: bool  # the model can call them

    @property
    def seat(self) -> str:
        return str(self.claim.seat)

    @property
    def place(self) -> Place:
        return self.desk.places[self.claim.turn_id]

    @property
    def state(self) -> RunState:
        return self.desk.state

    @property
    def shown(self) -> tuple[Evidence, ...]:
        """What this seat was shown when it last answered."""
        return self.desk.shown.get(self.seat, ())

    @cached_property
    def searching(self) -> dict[str, object]:
        """What a seat needs to search for itself; {} when it gets what is fetched for it."""
        searches, k = self.state.protocol.searches, self.place.evidence_k
        if not (self.tools and searches and k and self.desk.packs):
            return {}
        return {"searches": searches, "packs": self.desk.packs, "search_k": min(k, MOST_K)}

    @property
    def fetched(self) -> tuple[Evidence, ...]:
        """What is found for a seat that does not search for itself."""
        if self.searching:
            return ()
        return self.desk.search(prompts.search_query(self.base), self.place.evidence_k)

    @cached_property
    def before(self) -> RunState:
        """The run as it stood when this round was opened: what others have said in it since stays unseen, whoever asks again."""
        return counting.up_to(self.desk.state, self.claim.round_number - 1)

    @cached_property
    def others(self) -> list[tuple[str, str]]:
        """In a debate, the other answers that this seat reads, and of each one seat that holds it; otherwise none."""
        return _others(self) if self.claim.stage == Stage.DEBATE else []

    @cached_property
    def base(self) -> TurnContext:
        return TurnContext(
            kind=TurnKind(self.claim.kind),
            stage=Stage(self.claim.stage),
            question=self.place.question,
            options=tuple(self.place.options),
            role=self.place.role,
            instructions=self.place.instructions,
            messages=self.desk.messages,
            history=self.desk.history,
        )


def prepare(desk: Desk, claim: Claim, *, tools: bool = False, shown: tuple[Evidence, ...] | None = None) -> Assignment:
    """Read what the turn needs, and leave out what it must not see. A model with ``tools`` searches for itself; for others the
    packs are searched here. A person comes back to a turn: it reads the evidence that it was ``shown`` the first time, so that
    citation numbers hold."""
    build = {
        TurnKind.ANSWER: _answer,
        TurnKind.BALLOT: _ballot,
        TurnKind.SYNTHESIS: _synthesis,
        TurnKind.DISSENT: _dissent,
        TurnKind.ATTACK: _attack,
        TurnKind.RATIFY: _ratify,
        TurnKind.REPLY: _reply,
    }[TurnKind(claim.kind)]
    if shown is not None:
        desk.finds_nothing_new()
    scene = _Scene(desk, claim, tools)
    behind = tuple(seat for _, seat in scene.others)
    context = build(scene) if shown is None else build(scene).model_copy(update={"evidence": shown})
    return Assignment(context, seed_of(claim), behind)


def seed_of(claim: Claim) -> int:
    """A seed of this attempt's own, from the run's recorded one; 31 bits, as servers take them."""
    text = f"{claim.run_seed}:{claim.round_number}:{claim.kind}:{claim.seat_id}:{claim.ordinal}:{claim.attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def _answer(scene: _Scene) -> TurnContext:
    if scene.desk.origin.get("kind") == "reconsider" and scene.claim.stage == Stage.OPENING:
        more = revisiting.reconsidered(scene.claim, scene.desk.origin)
        return scene.base.model_copy(update={**more._asdict(), "scale": scene.before.protocol.estimate})
    k, state = scene.place.evidence_k, scene.before
    found = scene.fetched
    if scene.claim.stage == Stage.OPENING:
        return scene.base.model_copy(update={"evidence": found, "scale": state.protocol.estimate, **scene.searching})
    # The numbers of its earlier list stand in the seat's own answer, so later finds come behind them.
    earlier, number = scene.shown, scene.claim.round_number
    tally = latest_tally(state)
    return scene.base.model_copy(
        update={
            "evidence": evidence.extend(earlier, found, len(earlier) + k),
            "own": positions(state).get(scene.seat),
            "others": tuple(text for text, _ in scene.others),
            "scale": state.protocol.estimate,
            "distribution": tally.estimates if tally else None,
            "attack": _attack_before(state),
            "may_ask": len(rounds_of(state, Stage.DEBATE)) + 1 < state.protocol.rounds,
            "asked": tuple(citations.strip_marks(text) for _, text in questions_to(state, scene.seat, number)),
            "replied": _replied(scene),
            **scene.searching,
        }
    )


def _others(scene: _Scene) -> list[tuple[str, str]]:
    """The answers of this seat's neighbours and of each a seat that holds it: de-duplicated, unnamed, without marks (they point into
    another seat's list), in this seat's own order."""
    answers = positions(scene.before)
    degree = scene.before.protocol.neighbours
    table = sorted({*answers, scene.seat})
    reads = neighbours(table, scene.before.seed, scene.claim.round_number, degree)[scene.seat]
    texts = {_position(answers[seat]): seat for seat in reversed(reads) if seat in answers}
    if own := answers.get(scene.seat):
        texts.pop(_position(own), None)
    seed = seed_of(scene.claim)
    return sorted(texts.items(), key=lambda item: hashlib.sha256(f"{seed}:{item[0]}".encode()).digest())


def _attack_before(state: RunState) -> str:
    """The case against the leading answer, for the debate that follows it."""
    made = [turn.attack.text for round_ in rounds_of(state, Stage.ATTACK) for turn in round_.turns if turn.attack]
    fresh = not rounds_of(state, Stage.DEBATE)
    return citations.strip_marks(made[-1]) if made and fresh else ""


def _replied(scene: _Scene) -> tuple[str, ...]:
    replies = replies_to(scene.before, scene.seat, scene.claim.round_number)
    return tuple(citations.strip_marks(f"{one.asked} {one.text}") for one in replies)


def _attack(scene: _Scene) -> TurnContext:
    """The leading answer, and what this seat was shown when it answered; it may be its own answer that it attacks."""
    shown = evidence.extend(scene.shown, scene.fetched, len(scene.shown) + scene.place.evidence_k)
    tally = latest_tally(scene.before)
    winner = tally.winning if tally else None
    return scene.base.model_copy(
        update={"winner": _unsigned(winner) if winner else None, "evidence": shown, **scene.searching}
    )


def _ratify(scene: _Scene) -> TurnContext:
    """The outcome and the text, with the evidence that its writer had: the marks point into that list."""
    draft, shown = _written(scene)
    tally = final_tally(scene.before)
    winner = tally.winning if tally else None
    return scene.base.model_copy(
        update={"winner": _unsigned(winner) if winner else None, "draft": draft, "evidence": shown}
    )


def _reply(scene: _Scene) -> TurnContext:
    """A person's question, the answer of this seat's own that it is about, and what the seat was shown for it; of other seats nothing."""
    question, (own, shown) = revisiting.asked_about(scene.claim)
    k = scene.place.evidence_k
    found = scene.desk.search(prompts.clip(prompts.one_line(question), prompts.QUERY_CHARS), k)
    more = {"evidence": evidence.extend(shown, found, len(shown) + k), "own": own, "asked": (question,)}
    return scene.base.model_copy(update=more)


def _written(scene: _Scene) -> tuple[str, tuple[Evidence, ...]]:
    """The text that stands before this round, and what its writer was shown; "" when none was written."""
    done = Turn.objects.filter(round__run=scene.claim.run_id, kind=TurnKind.SYNTHESIS, status="completed")
    turn = done.filter(round__number__lt=scene.claim.round_number).order_by("-round__number", "-ordinal").first()
    if turn is None or turn.result is None:
        return "", ()
    return turn.result["synthesis"]["answer"], shown_to(turn)


def _position(answer: Answer) -> str:
    text = citations.strip_marks(answer.answer)
    if answer.estimate is not None:
        return text
    return f"{answer.option}: {text}" if answer.option else text


def _ballot(scene: _Scene) -> TurnContext:
    present = [
        turn.seat for turn in _round(scene.state, scene.claim).turns if turn.kind == TurnKind.BALLOT and turn.seat
    ]
    texts, orders = counting.presented(scene.state, present, scene.claim.round_number)
    shown = {text.id: text for text in texts}
    own = positions(scene.state).get(scene.seat)
    found = scene.shown if own is not None else ()
    return scene.base.model_copy(
        update={
            "candidates": tuple(_unsigned(shown[one]) for one in orders[scene.seat]),
            "own": own,
            "evidence": found,
            "replied": _replied(scene),
        }
    )


def _unsigned(candidate: Candidate) -> Candidate:
    return candidate.model_copy(update={"seats": (), "text": citations.strip_marks(candidate.text)})


def _round(state: RunState, claim: Claim) -> RoundState:
    return next(round_ for round_ in state.rounds if round_.number == claim.round_number)


def answer_turns(run_id: UUID) -> dict[str, Turn]:
    """Each seat's latest completed answer turn."""
    turns = Turn.objects.filter(round__run=run_id, kind=TurnKind.ANSWER, status="completed").select_related("round")
    return {str(turn.seat_id): turn for turn in turns.order_by("round__number")}


def _synthesis(scene: _Scene) -> TurnContext:
    """The outcome is computed already; its writer gets the reasons for it and what spoke against it, all unnamed."""
    tally = final_tally(scene.state)
    winner = tally.winning if tally else None
    holders = set(winner.seats) if winner else set()
    turns = answer_turns(scene.claim.run_id)
    answers = positions(scene.state)
    ordered = sorted(
        answers, key=lambda seat: (seat not in holders, hashlib.sha256(f"{scene.state.seed}:{seat}".encode()).digest())
    )
    joint = evidence.join([(_position_with_marks(answers[seat]), shown_to(turns[seat])) for seat in ordered])
    reasons = [text for seat, text in zip(ordered, joint.texts, strict=True) if not winner or seat in holders]
    objections = [text for seat, text in zip(ordered, joint.texts, strict=True) if winner and seat not in holders]
    old = {
        one["was"]["revision"] for one in scene.desk.origin.get("changes", ())
    }  # superseded: nobody is to cite it again
    rest = (item for seat in ordered for item in shown_to(turns[seat]) if item.revision not in old)
    return scene.base.model_copy(
        update={
            "winner": _unsigned(winner) if winner else None,
            "reasons": tuple(dict.fromkeys(reasons)),
            "objections": tuple(dict.fromkeys(objections)),
            "candidates": () if winner or tally is None else tuple(_unsigned(one) for one in tally.candidates),
            "evidence": evidence.extend(joint.evidence, rest, evidence.JOINT_LIMIT),
            **_revision(scene),
            "role": "",
            "instructions": scene.base.instructions if scene.claim.ordinal == 0 else "",
        }
    )


def _revision(scene: _Scene) -> dict[str, object]:
    """What a writer reads of a text that the seats rejected. The marks go: its numbers were another list's."""
    asked = rounds_of(scene.before, Stage.RATIFY)
    verdicts = [turn.verdict for turn in asked[-1].turns if turn.verdict] if asked else []
    if not verdicts:
        return {}
    reasons = dict.fromkeys(citations.strip_marks(one.reason) for one in verdicts if not one.accept)
    return {"draft": citations.strip_marks(_written(scene)[0]), "rejections": tuple(sorted(reasons))}


def _position_with_marks(answer: Answer) -> str:
    return f"{answer.option}: {answer.answer}" if answer.option else answer.answer


def _dissent(scene: _Scene) -> TurnContext:
    tally = final_tally(scene.state)
    winner = tally.winning if tally else None
    return scene.base.model_copy(
        update={
            "winner": _unsigned(winner) if winner else None,
            "own": positions(scene.state).get(scene.seat),
            "evidence": scene.shown,
        }
    )
