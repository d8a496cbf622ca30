"""The claims table of a run: who asserts what, on what evidence, and who disputes it. Computed when it is asked for; nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

from council.deliberation import citations
from council.deliberation.assertions import Assertion, Said, merge
from council.deliberation.protocol import final_tally
from council.deliberation.types import Claim, TurnKind
from council.evidence import shown_to
from council.models import CouncilSession, Run, Seat, Turn
from council.state import load
from council.states import TurnStatus
from knowledge.selectors import revision_text
from realtime.errors import NotFound

Json = dict[str, Any]


def claims_of(session: CouncilSession, number: int | None = None) -> Json:
    """``{run, claims: [{id, text, asserted_by: [{seat, name, rounds, current, evidence: [check]}], disputed_by: [{seat, name, claim,
    why}], opposed_by: [{seat, name}]}]}`` of a run, by default the latest; ``run`` is null before the first.

    ``evidence`` are the passages that the seat named, each checked by quote and words: a ``citations.CitationCheck`` and the
    ``title``. ``current``: the seat's last answer still says so. ``disputed_by``: a claim of theirs contradicts this one in its
    words. ``opposed_by``: they concluded for another answer than everybody who asserts this; they need not deny it.
    """
    runs = Run.objects.filter(session=session).order_by("-number")
    run = (runs if number is None else runs.filter(number=number)).first()
    if run is None and number is not None:
        raise NotFound("There is no such run.")
    return {"run": run.number if run else None, "claims": _table(session, run) if run else []}


def _table(session: CouncilSession, run: Run) -> list[Json]:
    turns = list(
        Turn.objects.filter(round__run=run, kind=TurnKind.ANSWER, status=TurnStatus.COMPLETED)
        .exclude(round__sealed=True, round__closed_at=None)
        .select_related("round")
        .order_by("round__number", "seat__position")
    )
    made = [(turn, Claim.model_validate(claim)) for turn in turns for claim in _claims(turn)]
    said = [Said(str(turn.seat_id), turn.round.number, claim.text, at) for at, (turn, claim) in enumerate(made)]
    checks = _checks(session, made)
    tally = final_tally(load(run.pk))
    room = _Room(
        names={str(seat.pk): seat.name for seat in Seat.objects.filter(session=session)},
        last={str(turn.seat_id): turn.round.number for turn in turns},
        held=tally.agreement.positions if tally else {},
    )
    rows = merge(said)
    asserting = {row.id: list(dict.fromkeys(one.seat for one in row.said)) for row in rows}
    return [_row(row, room, asserting, checks) for row in rows]


def _claims(turn: Turn) -> list[object]:
    return list(turn.result["answer"]["claims"]) if turn.result else []


def _checks(session: CouncilSession, made: list[tuple[Turn, Claim]]) -> list[list[Json]]:
    """For each claim the passages that it names, checked; a number that was not shown is ``missing``."""
    given = " ".join([session.question, *session.options])
    text_of = cache(lambda revision: revision_text(UUID(revision)))
    found = []
    for turn, claim in made:
        text, shown = citations.strip_marks(claim.text), shown_to(turn)
        titles = {item.n: item.title for item in shown}
        checks: list[citations.CitationCheck] = []
        for n in dict.fromkeys(claim.evidence):
            if n in titles:
                checks += citations.check(f"{text} [{n}]", shown, text_of, given)
            else:
                nothing = f"no evidence [{n}] was shown to the writer"
                checks.append(citations.CitationCheck(n=n, at=len(text), status="missing", reason=nothing))
        found.append([{**check.model_dump(mode="json"), "title": titles.get(check.n)} for check in checks])
    return found


class _Room:
    """Who sits there, the last round in which each answered, and what each concluded."""

    def __init__(self, names: Mapping[str, str], last: Mapping[str, int], held: Mapping[str, str]) -> None:
        self.names, self.last, self.held = names, last, held

    def person(self, seat: str) -> Json:
        return {"seat": seat, "name": self.names[seat]}

    def opposed(self, asserting: list[str]) -> list[str]:
        positions = {self.held[seat] for seat in asserting if seat in self.held}
        return [seat for seat in self.names if positions and self.held.get(seat, "") not in {*positions, ""}]


def _row(row: Assertion, room: _Room, asserting: Mapping[str, list[str]], checks: list[list[Json]]) -> Json:
    by_seat = {seat: [one for one in row.said if one.seat == seat] for seat in asserting[row.id]}
    return {
        "id": row.id,
        "text": row.text,
        "asserted_by": [
            {
                **room.person(seat),
                "rounds": [one.round for one in said],
                "current": said[-1].round == room.last[seat],
                "evidence": checks[said[-1].source],
            }
            for seat, said in by_seat.items()
        ],
        "disputed_by": [
            {**room.person(seat), "claim": other, "why": why}
            for other, why in row.contradicts.items()
            for seat in asserting[other]
        ],
        "opposed_by": [room.person(seat) for seat in room.opposed(asserting[row.id])],
    }
