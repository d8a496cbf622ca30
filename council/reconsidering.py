"""Reconsidering a decision whose evidence has changed: only who relied on what changed is asked again, and everybody else stands by
what they said.

The follow-up run begins with an opening in which the others' latest answers are copied. Who cited a revision that was superseded is
asked in it, with the very passages as they were and as they are now. From there on the run goes its usual way, but holds no debate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.models import User
from council import carrying, claims, orchestrator, services, stale
from council.deliberation import carrying as pure
from council.deliberation import citations
from council.deliberation.types import Answer, Protocol, Stage, TurnKind
from council.endpoints import check_models
from council.evidence import shown_to
from council.models import CouncilSession, Decision, Round, Run, Seat, Turn
from council.selectors import latest_decision, session_for
from council.states import FINISHED, TurnStatus
from knowledge.selectors import Successor
from realtime import log
from realtime.errors import IllegalState

Json = dict[str, Any]
LEFT_OUT = (Stage.ATTACK, Stage.DEBATE)


def reconsider(user: User, session_id: UUID) -> CouncilSession:
    """Open the follow-up run. Raises ``IllegalState`` with the code ``no_decision`` or ``nothing_stale``, and while the council runs."""
    with transaction.atomic(), log.gathering():
        session = claims.lock_owned(user, session_id)
        if session.status not in FINISHED:
            raise IllegalState(f"A {session.status} council cannot reconsider anything.")
        decision = latest_decision(session)
        if decision is None:
            raise IllegalState("Nothing has been decided yet.", code="no_decision")
        check_models(session.seats.values_list("model", flat=True))
        _open(session, decision)
        audit.record("council.reconsidered", session, run=session.runs.count())
    return session_for(user, session_id)


def _open(session: CouncilSession, decision: Decision) -> None:
    latest = _latest_answers(decision.run)
    cited = {seat: _cited(turn) for seat, turn in latest.items() if turn.status == TurnStatus.COMPLETED}
    resting_on = {str(one) for one in decision.citations.values_list("revision_id", flat=True) if one is not None}
    gone = stale.superseded(session.owner, resting_on.union(*cited.values()))
    if not resting_on & gone.keys():
        raise IllegalState("Nothing that this decision cites has changed.", code="nothing_stale")
    affected = _affected(latest, cited, gone)
    origin = {"kind": "reconsider", "run": decision.run.number, "asked_again": affected, "changes": _changes(gone)}
    run = services.open_run(session, _protocol(decision.run), origin)
    _opening(session, run, latest, affected)
    orchestrator.advance(session, run)


def _latest_answers(run: Run) -> dict[str, Turn]:
    """Each voter's latest completed answer; where it gave none, its failed one, so that it is missing from here on as well."""
    turns = Turn.objects.filter(round__run=run, kind=TurnKind.ANSWER).exclude(status__in=["pending", "running"])
    found: dict[str, Turn] = {}
    for turn in turns.select_related("round").order_by("round__number", "created_at", "id"):
        if turn.status == TurnStatus.COMPLETED or str(turn.seat_id) not in found:
            found[str(turn.seat_id)] = turn
    return found


def _cited(turn: Turn) -> set[str]:
    """Revisions that an answer rests on: by its marks or as the evidence of its claims."""
    given = Answer.model_validate((turn.result or {})["answer"])
    numbers = {*citations.numbers(given.answer), *(n for claim in given.claims for n in claim.evidence)}
    return {item.revision for item in shown_to(turn) if item.n in numbers}


def _affected(latest: Mapping[str, Turn], cited: Mapping[str, set[str]], gone: Mapping[str, Successor]) -> list[str]:
    """Who cited what has changed; where only the text of the decision did, who had been shown it."""
    citing = [seat for seat, revisions in cited.items() if revisions & gone.keys()]
    shown = [seat for seat in cited if any(item.revision in gone for item in shown_to(latest[seat]))]
    return sorted(citing or shown)


def _changes(gone: Mapping[str, Successor]) -> list[Json]:
    return [
        {
            "entry": str(one.entry) if one.entry else None,
            "title": one.title,
            "was": {"revision": revision, "number": one.was},
            "now": {"revision": str(one.revision), "number": one.number} if one.revision else None,
        }
        for revision, one in sorted(gone.items())
    ]


def _protocol(run: Run) -> Protocol:
    """As the decision was made, without the stages in which seats read each other: nothing was said since that they could discuss."""
    protocol = Protocol.model_validate(run.protocol)
    stages = tuple(stage for stage in protocol.stages if stage not in LEFT_OUT)
    return protocol.model_copy(update={"stages": stages, "rounds": 0})


def _opening(session: CouncilSession, run: Run, latest: Mapping[str, Turn], affected: list[str]) -> None:
    sealed = carrying.is_sealed(session, Stage.OPENING)
    round_ = Round.objects.create(run=run, number=1, stage=Stage.OPENING, sealed=sealed, opened_at=timezone.now())
    kept = [turn for seat, turn in latest.items() if seat not in affected]
    copies = [carrying.copy_of(turn, session, round_, _position(turn), str(turn.seat_id)) for turn in kept]
    Turn.objects.bulk_create(copies)
    asked = carrying.open_turns(session, round_, _in_order(session, affected))
    session.round = 1
    session.save(update_fields=["round"])
    carrying.tell(session, run, round_, copies, asked)


def _in_order(session: CouncilSession, seats: list[str]) -> list[str]:
    return [str(seat.pk) for seat in Seat.objects.filter(session=session, pk__in=seats).order_by("position")]


def _position(turn: Turn) -> Json | None:
    if turn.result is None:
        return None
    held = pure.position_of(Answer.model_validate(turn.result["answer"]))
    return {**turn.result, "answer": held.model_dump(mode="json")}
