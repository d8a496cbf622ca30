"""Undoing a merge: open answers that were counted as one are counted apart again, by the ballots that were cast.

Ballots rank texts, and texts are gathered into candidates only when they are counted, so nobody has to vote again. What is changed is
the record of which texts say the same (``Merging`` in each round's tally); everything else follows from it, as in a recount.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.models import User
from council import claims, counting, decisions, events, serial
from council.deliberation import merging
from council.deliberation.protocol import final_tally
from council.deliberation.types import Candidate, Outcome, RunState, Stage, Tally
from council.models import CouncilSession, Decision, Round, Run
from council.selectors import session_for
from council.state import load
from council.states import FINISHED
from realtime import log
from realtime.errors import IllegalState, InvalidInput, NotFound

Json = dict[str, Any]


def split(user: User, session_id: UUID, candidate: str) -> CouncilSession:
    """Count the latest decision of a finished session again with ``candidate`` ("a1") taken apart into its texts.

    Raises ``IllegalState`` while it runs or before there is a decision, ``InvalidInput`` for a candidate that no merge made.
    """
    with transaction.atomic():
        session = claims.lock_session(session_id)
        if session is None or session.owner_id != user.pk:
            raise NotFound("There is no such council session.")
        if session.status not in FINISHED:
            raise IllegalState(f"Answers of a {session.status} council cannot be taken apart.")
        run = Run.objects.filter(session=session, decision__isnull=False).order_by("-number").first()
        if run is None:
            raise IllegalState("Nothing has been decided yet.", code="no_decision")
        _split(session, run, candidate)
        session.version += 1
        session.save(update_fields=["version"])
        log.append(session, events.session_updated(session_for(user, session_id)))
    return session_for(user, session_id)


def _split(session: CouncilSession, run: Run, candidate: str) -> None:
    before = load(run.pk)
    after = _recounted(before, _group(final_tally(before), candidate))
    for old, new in zip(before.rounds, after.rounds, strict=True):
        if new.tally is not None and new.tally != old.tally:
            counted = new.tally.model_dump(mode="json")
            Round.objects.filter(run=run, number=new.number).update(tally=counted)
            log.append(session, events.tally_recounted(serial.round_key(run.number, new.number, new.stage), counted))
    decision = decisions.recount(session, run, after, *_consequences(before, after, candidate, run.decision))
    log.append(session, events.decision_revised(decision))


def _group(tally: Tally | None, candidate: str) -> set[str]:
    """The keys of the texts that the candidate was merged from."""
    found = next((one for one in tally.candidates if one.id == candidate), None) if tally else None
    leaders = merging.representatives(tally.merging) if tally else {}
    leader = leaders.get(merging.key(found.text)) if found else None
    if leader is None:
        detail = "This is no candidate that was merged from several answers."
        raise InvalidInput(detail, errors=[{"pointer": "/candidate", "detail": detail}])
    return {text for text, at in leaders.items() if at == leader}


def _recounted(state: RunState, group: Collection[str]) -> RunState:
    """Every count of the run again, in order, for each builds on the candidates before it."""
    for round_ in state.rounds:
        if round_.tally is None or round_.tally.merging is None:
            continue
        again = counting.count(state, round_.number, merging.undo(round_.tally.merging, group))
        fresh = round_.model_copy(update={"tally": again})
        state = state.model_copy(
            update={"rounds": tuple(fresh if r.number == round_.number else r for r in state.rounds)}
        )
    return state


def _consequences(before: RunState, after: RunState, candidate: str, stored: Decision) -> tuple[Outcome, str, bool]:
    """The outcome, the note that stands above the answer, and whether its text was written for an outcome that no longer stands."""
    old, new = _winner(before), _winner(after)
    replaced = (old.text if old else None) != (new.text if new else None)
    unvoted = Stage.BALLOT in after.protocol.stages and not any(one.stage is Stage.BALLOT for one in after.rounds)
    note = f"The answers counted as {candidate.upper()} were taken apart by the user, and the votes counted again."
    if replaced:
        note += " The outcome is another one, so the text written for the earlier one was replaced."
    if unvoted:
        note += " No ballot was held, for the answers had been taken to agree: positions decide."
    if unvoted or stored.outcome == Outcome.PARTIAL:
        return Outcome.PARTIAL, note, replaced
    return (Outcome.DECIDED if new else Outcome.NO_CONSENSUS), note, replaced


def _winner(state: RunState) -> Candidate | None:
    tally = final_tally(state)
    return next((one for one in tally.candidates if one.id == tally.winner), None) if tally else None
