"""The council's event types and their payloads, in one place.

A payload carries every field that the snapshot shows of that change: a reader that has snapshot(k) and the events after it
holds snapshot(n). ``docs/events.md`` is the table of these for clients.
"""

from __future__ import annotations

from typing import Any

from council import serial
from council.models import Budget, CouncilSession, Decision, Message, Round, Run, Turn
from realtime.log import NewEvent


def session_created(session: CouncilSession) -> NewEvent:
    return "session.created", {"session": serial.session(session)}


def session_updated(session: CouncilSession) -> NewEvent:
    return "session.updated", {"session": serial.session(session)}


def session_moved(session: CouncilSession, verb: str, **more: Any) -> NewEvent:
    """``verb``: started, paused, resumed, stopped, completed or failed."""
    return f"session.{verb}", {"session": serial.session_status(session), **more}


def round_started(run: Run, round_: Round, asked: list[str]) -> NewEvent:
    return "round.started", {
        **serial.round_key(run, round_),
        "opened_at": serial.when(round_.opened_at),
        "asked": asked,
    }


def round_closed(run: Run, round_: Round) -> NewEvent:
    """Opens what was sealed: this event is the first place where a ballot's contents stand."""
    return "round.closed", {
        **serial.round_key(run, round_),
        "closed_at": serial.when(round_.closed_at),
        "ballots": serial.ballots(round_),
    }


def tally_computed(run: Run, round_: Round) -> NewEvent:
    return "tally.computed", {**serial.round_key(run, round_), "tally": round_.tally}


def turn_moved(turn: Turn, verb: str, **more: Any) -> NewEvent:
    """``verb``: started, retrying, completed, failed or cancelled."""
    return f"turn.{verb}", {**serial.turn(turn), **more}


def ballot_cast(turn: Turn) -> NewEvent:
    return "ballot.cast", serial.turn_key(turn)


def message_created(message: Message) -> NewEvent:
    return "message.created", {"message": serial.message(message)}


def decision_reached(decision: Decision) -> NewEvent:
    return "decision.reached", {"decision": serial.decision(decision)}


def budget_event(verb: str, budget: Budget) -> NewEvent:
    return f"budget.{verb}", {"usage": serial.usage(budget), "budget": serial.budget(budget)}
