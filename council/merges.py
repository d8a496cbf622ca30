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
from council.deliberation.record import unanimous
from council.deliberation.types import Candidate, RunState, Stage, Tally
from council.models import CouncilSession, Round, Run, SessionEvent
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
    note, replaced = _note(before, after, candidate), outdated(session, run, after)
    decision = decisions.recount(session, run, after, note, replaced)
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


def first_counted(session: CouncilSession, run: Run, state: RunState) -> RunState:
    """The run with the counts that it went by, before anybody took answers apart: the log has the first of each round."""
    told = SessionEvent.objects.filter(stream=session, type="tally.computed", payload__run=run.number).order_by("-seq")
    first = {data["round"]: data["tally"] for data in told.values_list("payload", flat=True)}
    rounds = (
        round_.model_copy(update={"tally": Tally.model_validate(first[round_.number])})
        if round_.tally is not None and round_.number in first
        else round_
        for round_ in state.rounds
    )
    return state.model_copy(update={"rounds": tuple(rounds)})


def outdated(session: CouncilSession, run: Run, state: RunState) -> bool:
    """Whether the run's text was written for another outcome than the one that its counts have now."""
    return _said(first_counted(session, run, state)) != _said(state)


def _note(before: RunState, after: RunState, candidate: str) -> str:
    """What stands above the answer."""
    note = f"The answers counted as {candidate.upper()} were taken apart by the user, and the votes counted again."
    if _said(before) != _said(after):
        note += " The outcome is another one, so the text written for the earlier one was replaced."
    voted = any(one.stage is Stage.BALLOT for one in after.rounds)
    if Stage.BALLOT in after.protocol.stages and not voted and _agree(before) and not _agree(after):
        note += " No ballot was held, for the answers had been taken to agree: positions decide."
    return note


def _agree(state: RunState) -> bool:
    tally = final_tally(state)
    return tally is not None and unanimous(state, tally)


def _said(state: RunState) -> str | None:
    winner = _winner(state)
    return winner.text if winner else None


def _winner(state: RunState) -> Candidate | None:
    tally = final_tally(state)
    return tally.winning if tally else None
