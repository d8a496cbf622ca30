"""The council's event types and their payloads, in one place.

A payload carries every field that the snapshot shows of that change: a reader that has snapshot(k) and the events after it
holds snapshot(n). ``docs/events.md`` is the table of these for clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from council import serial
from council.models import Budget, CouncilSession, Decision, Message, Turn
from realtime.log import NewEvent

if TYPE_CHECKING:
    from council.claims import Claim  # claims append events

Json = dict[str, Any]


def session_created(session: CouncilSession) -> NewEvent:
    return "session.created", {"session": serial.session(session)}


def session_updated(session: CouncilSession) -> NewEvent:
    return "session.updated", {"session": serial.session(session)}


def session_moved(session: CouncilSession, verb: str, **more: Any) -> NewEvent:
    """``verb``: started, paused, resumed, stopped, completed or failed."""
    return f"session.{verb}", {"session": serial.session_status(session), **more}


def round_started(key: Json, opened_at: datetime, asked: list[str]) -> NewEvent:
    """``key``: run, round, stage."""
    return "round.started", {**key, "opened_at": serial.when(opened_at), "asked": asked}


def round_closed(
    key: Json, closed_at: datetime, ballots: list[Json], texts: list[Json], turns: list[Json] | None
) -> NewEvent:
    """Opens what was sealed: this event is the first place where a ballot's contents stand, and, in a round with a person, what
    the seats said (``turns``)."""
    opened = {} if turns is None else {"turns": turns}
    return "round.closed", {**key, "closed_at": serial.when(closed_at), "ballots": ballots, "texts": texts, **opened}


def gate_opened(key: Json, turn: UUID, deadline_at: datetime, outcome: Json) -> NewEvent:
    return "gate.opened", {**key, "turn": str(turn), "deadline_at": serial.when(deadline_at), "outcome": outcome}


def tally_computed(claim: Claim, tally: Json) -> NewEvent:
    key = serial.round_key(claim.run_number, claim.round_number, claim.stage)
    return "tally.computed", {**key, "tally": tally}


def tally_recounted(key: Json, tally: Json) -> NewEvent:
    """A count that a person had made again; ``key``: run, round, stage."""
    return "tally.computed", {**key, "tally": tally}


def turn_moved(turn: Turn, verb: str, **more: Any) -> NewEvent:
    """``verb``: started, retrying, completed, failed or cancelled."""
    return f"turn.{verb}", {**serial.turn(turn), **more}


def turn_claimed(claim: Claim) -> NewEvent:
    """turn.started of an attempt. It shows the error of the attempt before it, as the snapshot does."""
    body = serial.turn_json(
        _key(claim),
        status="running",
        error=claim.error,
        error_detail=claim.error_detail,
        started_at=claim.started_at,
        person=claim.person,
        sealed=claim.sealed,
    )
    return "turn.started", body


def turn_completed(
    claim: Claim, finished_at: datetime, result: Json, evidence: Sequence[Json], usage: Json
) -> NewEvent:
    body = serial.turn_json(
        _key(claim),
        status="completed",
        result=result,
        evidence=evidence,
        started_at=claim.started_at,
        finished_at=finished_at,
        person=claim.person,
        sealed=claim.sealed,
    )
    return "turn.completed", {**body, **usage}


def _key(claim: Claim) -> serial.TurnKey:
    return serial.TurnKey(
        claim.turn_id,
        claim.seat_id,
        claim.run_number,
        claim.round_number,
        claim.kind,
        claim.ordinal,
        claim.attempt,
    )


def ballot_cast(claim: Claim) -> NewEvent:
    return "ballot.cast", _key(claim).json()


def message_created(message: Message) -> NewEvent:
    return "message.created", {"message": serial.message(message)}


def decision_reached(decision: Decision) -> NewEvent:
    return "decision.reached", {"decision": serial.decision(decision)}


def decision_revised(decision: Decision) -> NewEvent:
    """Takes the place of the decision of the same run."""
    return "decision.revised", {"decision": serial.decision(decision)}


def budget_event(verb: str, budget: Budget) -> NewEvent:
    return f"budget.{verb}", {"usage": serial.usage(budget), "budget": serial.budget(budget)}
