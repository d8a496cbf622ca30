"""The decision of a run, put together from what was counted and written. Called once, when the protocol concludes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple
from uuid import UUID

from council.context import shown_to
from council.deliberation import citations as c
from council.deliberation.protocol import dissenters, final_tally, flips, missing_seats, positions
from council.deliberation.types import Candidate, Conclude, Outcome, RunState, Tally, TurnKind
from council.models import Citation, CouncilSession, Decision, Run, Seat, Turn
from council.states import TurnStatus
from knowledge.quality.uses import note_citations
from knowledge.selectors import revision_text

Json = dict[str, Any]
NO_TEXT = "The council reached no common answer."


def record(session: CouncilSession, run: Run, state: RunState, step: Conclude) -> Decision:
    """Assemble and store the decision with its citations, each checked against what its writer was shown."""
    turns = list(Turn.objects.filter(round__run=run).select_related("round").order_by("round__number", "ordinal"))
    done = [turn for turn in turns if turn.status == TurnStatus.COMPLETED]
    seats = {str(seat.id): seat for seat in Seat.objects.filter(session=session)}
    written = write_up(session, state, done)
    decision = Decision.objects.create(
        run=run,
        outcome=step.outcome or Outcome.PARTIAL,
        answer=written.answer,
        source=written.source,
        dissent=dissent(session, state, done),
        flips=[{**flip._asdict(), "name": seats[flip.seat].name} for flip in flips(state)],
        missing=_missing(turns, state, seats),
        notes=list(step.notes),
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


def write_up(session: CouncilSession, state: RunState, done: Sequence[Turn]) -> WriteUp:
    """From a run's completed turns, in order of rounds and ordinals. Asks no model: what had to be compared by meaning was compared
    when the text was written, and its score is kept with the turn."""
    text, turn, source = _answer_text(done, state)
    written = c.renumber([(text, _checks(session, text, turn))])
    return WriteUp(written.texts[0], written.citations, source)


def _checks(session: CouncilSession, text: str, turn: Turn | None) -> tuple[c.CitationCheck, ...]:
    if turn is None:
        return ()
    recorded = [c.CitationCheck.model_validate(one) for one in (turn.result or {}).get("citations", [])]
    return c.check(text, shown_to(turn), _revision_text, _given(session), c.similarities(recorded))


def _json(value: Any) -> Json:
    return dict(value.model_dump(mode="json"))


def _revision_text(revision: str) -> str | None:
    return revision_text(UUID(revision))


def _given(session: CouncilSession) -> str:
    return " ".join([session.question, *session.options])


def _winner(tally: Tally | None) -> Candidate | None:
    return next((one for one in tally.candidates if one.id == tally.winner), None) if tally else None


def _answer_text(done: Sequence[Turn], state: RunState) -> tuple[str, Turn | None, Decision.Source]:
    """The chair's text, the stand-in's, or the top answer verbatim, each with the turn that it comes from."""
    written = next((turn for turn in reversed(done) if turn.kind == TurnKind.SYNTHESIS), None)
    if written is not None and written.result is not None:
        source = Decision.Source.CHAIR if written.ordinal == 0 else Decision.Source.STAND_IN
        return written.result["synthesis"]["answer"], written, source
    seat = _top_seat(state, _winner(final_tally(state)))
    if seat is None:
        return NO_TEXT, None, Decision.Source.VERBATIM
    return positions(state)[seat].answer, _answers(done)[seat], Decision.Source.VERBATIM


def _answers(done: Sequence[Turn]) -> dict[str, Turn]:
    """Each seat's latest answer turn."""
    return {str(turn.seat_id): turn for turn in done if turn.kind == TurnKind.ANSWER}


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
        },
    }


def dissent(session: CouncilSession, state: RunState, done: Sequence[Turn]) -> list[Json]:
    """The minority report in the dissenters' own words; a dissenter that could not write is quoted from its answer."""
    names = dict(Seat.objects.filter(session=session).values_list("pk", "name"))
    reports = {str(turn.seat_id): turn for turn in done if turn.kind == TurnKind.DISSENT}
    answers = _answers(done)
    found = []
    for seat in dissenters(state):
        report = reports.get(seat)
        answer = positions(state)[seat]
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
