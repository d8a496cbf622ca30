"""The decision of a run, put together from what was counted and written. Called once, when the protocol concludes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple
from uuid import UUID

from council.deliberation import citations as c
from council.deliberation import ending
from council.deliberation.protocol import (
    Flip,
    dissenters,
    final_tally,
    flips,
    missing_seats,
    positions,
    questions_to,
    ratification,
)
from council.deliberation.types import (
    Candidate,
    Conclude,
    Outcome,
    Question,
    RunState,
    Stage,
    Tally,
    TurnKind,
)
from council.evidence import shown_to
from council.models import Citation, CouncilSession, Decision, Run, Seat, Turn
from council.states import TurnStatus
from knowledge.quality.uses import note_citations
from knowledge.selectors import revision_text

Json = dict[str, Any]
NO_TEXT = "The council reached no common answer."


def record(session: CouncilSession, run: Run, state: RunState, step: Conclude) -> Decision:
    """Assemble and store the decision with its citations, each checked against what its writer was shown."""
    turns = _turns(run)
    done = [turn for turn in turns if turn.status == TurnStatus.COMPLETED]
    seats = {str(seat.id): seat for seat in Seat.objects.filter(session=session)}
    written = write_up(session, state, done)
    decision = Decision.objects.create(
        run=run,
        outcome=step.outcome or Outcome.PARTIAL,
        answer=written.answer,
        source=written.source,
        dissent=dissent(session, state, done),
        flips=[_flip(flip, seats) for flip in flips(state)],
        ratification=ratification_of(state),
        exchange=_exchange(state, seats),
        missing=_missing(turns, state, seats),
        notes=[*reconsideration_notes(run), *step.notes],
        **computed_fields(state),
    )
    Citation.objects.bulk_create(citation_row(decision, check) for check in written.citations)
    note_citations(check.revision for check in written.citations if check.revision and check.status == "verified")
    return decision


class WriteUp(NamedTuple):
    """The decision's text with its marks numbered from 1, what each of them stands on, and who wrote it."""

    answer: str
    citations: tuple[c.CitationCheck, ...]
    source: Decision.Source


def write_up(session: CouncilSession, state: RunState, done: Sequence[Turn], replaced: bool = False) -> WriteUp:
    """From a run's completed turns, in order of rounds and ordinals; ``replaced`` as in ``recount``. Asks no model: what had to be
    compared by meaning was compared when the text was written, and its score is kept with the turn."""
    unwritten = [turn for turn in done if turn.kind != TurnKind.SYNTHESIS]
    text, turn, source = _answer_text(unwritten if replaced else done, state)
    written = c.renumber([(text, _checks(session, text, turn))])
    return WriteUp(written.texts[0], written.citations, source)


def _checks(session: CouncilSession, text: str, turn: Turn | None) -> tuple[c.CitationCheck, ...]:
    if turn is None:
        return ()
    recorded = [c.CitationCheck.model_validate(one) for one in (turn.result or {}).get("citations", [])]
    return c.check(text, shown_to(turn), _revision_text, _given(session), c.similarities(recorded))


def recount(session: CouncilSession, run: Run, state: RunState, note: str, replaced: bool) -> Decision:
    """Store what follows from counts that were made again. ``replaced``: the text was written for another outcome, so that the
    leading answer takes its place, and what the seats said of that text is dropped with it."""
    decision: Decision = run.decision
    done = completed_turns(run)
    seats = {str(seat.id): seat for seat in Seat.objects.filter(session=session)}
    written = write_up(session, state, done, replaced)
    stale = ending.ratification_notes(state) if replaced else ()
    changed: Json = {
        **computed_fields(state),
        "outcome": ending.conclude(state).outcome,
        "answer": written.answer,
        "source": written.source,
        "notes": [note, *(one for one in decision.notes if one not in stale)],
        "dissent": dissent(session, state, done),
        "flips": [_flip(flip, seats) for flip in flips(state)],
        "ratification": ratification_of(state, replaced),
    }
    if written.answer != decision.answer:
        decision.citations.all().delete()
        Citation.objects.bulk_create(citation_row(decision, check) for check in written.citations)
    for name, value in changed.items():
        setattr(decision, name, value)
    decision.save(update_fields=list(changed))
    return decision


def completed_turns(run: Run) -> list[Turn]:
    """In order of rounds and ordinals, as ``write_up`` and ``dissent`` take them."""
    return [turn for turn in _turns(run) if turn.status == TurnStatus.COMPLETED]


def _turns(run: Run) -> list[Turn]:
    turns = Turn.objects.filter(round__run=run).exclude(kind=TurnKind.REPLY).select_related("round")
    return list(turns.order_by("round__number", "ordinal"))


def _flip(flip: Flip, seats: Mapping[str, Seat]) -> Json:
    persuaded = flip.persuaded_by.model_dump(mode="json") if flip.persuaded_by else None
    return {**flip._asdict(), "persuaded_by": persuaded, "name": seats[flip.seat].name}


def ratification_of(state: RunState, replaced: bool = False) -> Json | None:
    """``{accepted, rejected, ratified, revised}``, None where nobody was asked about the text that stands."""
    verdict = None if replaced else ratification(state)
    return dict(verdict._asdict()) if verdict else None


def _exchange(state: RunState, seats: Mapping[str, Seat]) -> list[Json]:
    """What seats asked each other, ``{round, from, to, question, reply}``; ``reply`` is null where none came."""
    found: list[Json] = []
    for round_ in state.rounds:
        for turn in round_.turns:
            for one in turn.answer.questions if turn.answer and turn.seat else ():
                reply = _reply(state, round_.number, turn.seat or "", one)
                names = {"from": seats[turn.seat or ""].name, "to": seats[one.seat].name if one.seat else None}
                found.append({"round": round_.number, **names, "question": one.text, "reply": reply})
    return found


def _reply(state: RunState, number: int, asker: str, question: Question) -> str | None:
    """From the debate after round ``number``, in the turn of the seat that was asked."""
    after = next((round_ for round_ in state.rounds if round_.number > number and round_.stage is Stage.DEBATE), None)
    turns = after.turns if after is not None else ()
    answer = next((turn.answer for turn in turns if turn.seat == question.seat and turn.answer), None)
    if after is None or answer is None or question.seat is None:
        return None
    asked = questions_to(state, question.seat, after.number)
    mine = {n for n, put in enumerate(asked, start=1) if put == (asker, question.text)}
    return next((one.text for one in answer.replies if one.question in mine), None)


def reconsideration_notes(run: Run) -> list[str]:
    """What stands above the decision of a run that reconsidered an earlier one."""
    origin = run.origin or {}
    if origin.get("kind") != "reconsider":
        return []
    changed = [
        f"“{one['title']}” was revised ({one['was']['number']} to {one['now']['number']})"
        if one["now"]
        else f"“{one['title']}” was withdrawn"
        for one in origin["changes"]
    ]
    return [
        f"Reconsidered after run {origin['run']}: {'; '.join(changed)}. Only seats that had cited this were asked again."
    ]


def _json(value: Any) -> Json:
    return dict(value.model_dump(mode="json"))


def _revision_text(revision: str) -> str | None:
    return revision_text(UUID(revision))


def _given(session: CouncilSession) -> str:
    return " ".join([session.question, *session.options])


def _winner(tally: Tally | None) -> Candidate | None:
    return tally.winning if tally else None


def _answer_text(done: Sequence[Turn], state: RunState) -> tuple[str, Turn | None, Decision.Source]:
    """The chair's text, the stand-in's, or the top answer verbatim, each with the turn that it comes from. Without a winner and a
    writer, what stands and what would decide."""
    written = next((turn for turn in reversed(done) if turn.kind == TurnKind.SYNTHESIS), None)
    if written is not None and written.result is not None:
        source = Decision.Source.CHAIR if written.ordinal == 0 else Decision.Source.STAND_IN
        return written.result["synthesis"]["answer"], written, source
    winner = _winner(final_tally(state))
    if winner is None:
        return _standing(state), None, Decision.Source.VERBATIM
    seat = _top_seat(state, winner)
    if seat is None:
        return winner.text, None, Decision.Source.VERBATIM
    return positions(state)[seat].answer, _answers(done)[seat], Decision.Source.VERBATIM


def _answers(done: Sequence[Turn]) -> dict[str, Turn]:
    """Each seat's latest answer turn."""
    return {str(turn.seat_id): turn for turn in done if turn.kind == TurnKind.ANSWER}


def _standing(state: RunState) -> str:
    """No consensus, and nobody to write it up: the answers that stand, and what their holders say would change their minds."""
    tally = final_tally(state)
    held = [one for one in tally.candidates if one.seats] if tally else []
    if not held:
        return NO_TEXT
    answers = positions(state)
    lines = [f"- {c.strip_marks(one.text)} ({len(one.seats)} of {len(answers)})" for one in held]
    doubts = dict.fromkeys(
        answers[seat].would_change for one in held for seat in one.seats if answers[seat].would_change
    )
    crux = ["", "What would decide between them:", *(f"- {c.strip_marks(doubt)}" for doubt in doubts)] if doubts else []
    return "\n".join([NO_TEXT, "These answers stand:", *lines, *crux])


def _top_seat(state: RunState, winner: Candidate | None) -> str | None:
    """The most confident supporter of the winner; without a winner the most confident seat. Ties by table position."""
    held = positions(state)
    wanted = [seat for seat in held if winner is None or seat in winner.seats]
    place = {seat.id: seat.position for seat in state.seats}
    return min(wanted, key=lambda seat: (-held[seat].confidence, place[seat]), default=None)


def _confidence(state: RunState, winner: Candidate | None) -> float | None:
    stated = [answer.confidence for seat, answer in positions(state).items() if winner and seat in winner.seats]
    return round(fmean(stated), 4) if stated else None


def computed_fields(state: RunState) -> Json:
    """Every field of a decision that follows from the count alone; ``recount`` computes and compares them."""
    tally = final_tally(state)
    winner = _winner(tally)
    opening = next((round_.tally for round_ in state.rounds if round_.tally is not None), None)
    return {
        "option": winner.option if winner else None,
        "confidence": _confidence(state, winner),
        "decided_by": tally.decided_by if tally else "",
        "margin": tally.margin if tally else None,
        "too_close": tally.too_close if tally else False,
        "rules": {name: _json(result) for name, result in tally.rules.items()} if tally else {},
        "agreement": {
            "opening": opening.agreement.modal_share if opening else None,
            "final": tally.agreement.modal_share if tally else None,
            "kendall_w": tally.agreement.kendall_w if tally else None,
            **_estimates(opening, tally),
        },
    }


def _estimates(opening: Tally | None, final: Tally | None) -> Json:
    """Where seats gave estimates, their distribution before exposure and at the end."""
    if opening is None or final is None or final.estimates is None:
        return {}
    return {
        "estimates": {
            "opening": _json(opening.estimates) if opening.estimates else None,
            "final": _json(final.estimates),
        }
    }


def dissent(session: CouncilSession, state: RunState, done: Sequence[Turn]) -> list[Json]:
    """The minority report in the dissenters' own words; a dissenter that could not write is quoted from its answer."""
    names = dict(Seat.objects.filter(session=session).values_list("pk", "name"))
    reports = {str(turn.seat_id): turn for turn in done if turn.kind == TurnKind.DISSENT}
    answers, held = _answers(done), positions(state)
    found = []
    for seat in dissenters(state):
        report = reports.get(seat)
        answer = held[seat]
        text = report.result["dissent"]["text"] if report is not None and report.result else answer.answer
        checks = _checks(session, text, report or answers[seat])
        found.append(
            {
                "seat": seat,
                "name": names[UUID(seat)],
                "option": answer.option,
                "text": text,
                "written": report is not None,
                "citations": [_json(check) for check in checks],
            }
        )
    return found


def _missing(turns: Sequence[Turn], state: RunState, seats: Mapping[str, Seat]) -> list[Json]:
    errors = {
        (str(turn.seat_id), turn.round.stage): turn.error or turn.status
        for turn in turns
        if turn.status != TurnStatus.COMPLETED
    }
    return [
        {
            "seat": seat,
            "name": seats[seat].name,
            "stage": stage.value,
            "error": errors.get((seat, stage.value), "absent"),
        }
        for seat, stage in missing_seats(state)
    ]


def citation_row(decision: Decision, check: c.CitationCheck) -> Citation:
    return Citation(
        decision=decision,
        n=check.n,
        revision_id=UUID(check.revision) if check.revision else None,
        passage=check.passage or "",
        start=check.start if check.revision else None,
        end=check.end if check.revision else None,
        quote=check.quote,
        quote_hash=check.quote_sha256 if check.quote else "",
        status=check.status,
        reason=check.reason[:300],
        similarity=check.similarity,
        snapshot=UUID(check.snapshot) if check.snapshot else None,
        snapshot_label=check.snapshot_label,
    )
