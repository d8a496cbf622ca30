"""What must hold of a council's event log and of its rows together, whatever was killed on the way. Pure: rows and events in, faults out.

The log is walked once (``told``); what it told by its end is then compared with the rows. ``stored`` reads both,
``manage.py check_history`` and the test suite run it. A council that runs may be checked as well: every commit leaves log and rows
in agreement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from council.deliberation.types import TurnKind
from council.history.told import ENDED, PURSE, Event, Fault, Json, Log, Place, RoundTold

TOLD_OF_SESSION = ("title", "question", "options", "status", "reason", "round", "version", "started_at", "finished_at")


class TurnRow(NamedTuple):
    run: int
    round: int
    seat: str | None
    kind: str
    ordinal: int
    status: str
    attempt: int
    said: str  # ``said_of``


class RoundRow(NamedTuple):
    stage: str
    closed: bool
    sealed: bool
    counted: bool  # it has a tally


@dataclass(frozen=True, slots=True)
class Rows:
    """One session as it is stored. Amounts by the names of ``PURSE``."""

    session: Json  # ``TOLD_OF_SESSION`` and last_seq, agents (seat ids)
    runs: Mapping[int, tuple[str, bool]]  # number: status, whether it has a decision
    rounds: Mapping[Place, RoundRow]
    turns: Mapping[str, TurnRow]
    ballots: Mapping[Place, set[str]]  # seats
    messages: set[str]
    budget: Mapping[str, Any]
    limits: Mapping[str, Any]
    used: Mapping[str, Any]  # by the calls that are settled
    reserved: Mapping[str, Any]
    running: Mapping[str, Any]  # reserved by the calls that run


def check(rows: Rows, events: Iterable[Event]) -> list[Fault]:
    """Every fault; an empty list is a sound history. ``events`` in order of ``seq``; they are not kept."""
    log = Log()
    for event in events:
        log.take(event)
    log.end()
    return [*log.faults, *(fault for compare in _COMPARED for fault in compare(rows, log))]


# --- the log against the rows -----------------------------------------------------------------------------------------


def _of_session(rows: Rows, log: Log) -> Iterator[Fault]:
    if rows.session["last_seq"] != log.seq:
        yield Fault("seq", f"last_seq is {rows.session['last_seq']}, the log ends with {log.seq}")
    for name in TOLD_OF_SESSION:
        if name in log.session and log.session[name] != rows.session[name]:
            yield Fault("session", f"{name} is {rows.session[name]!r}, told was {log.session[name]!r}")
    if "agents" in log.session and [seat["id"] for seat in log.session["agents"]] != rows.session["agents"]:
        yield Fault("session", "other seats were told")
    if rows.messages != log.messages:
        yield Fault(
            "message", f"{len(rows.messages ^ log.messages)} messages are stored and not told, or told and not stored"
        )


def _of_runs(rows: Rows, log: Log) -> Iterator[Fault]:
    stored = {number: status for number, (status, _) in rows.runs.items()}
    if stored != log.runs:
        yield Fault("transition", f"runs are {stored}, told was {log.runs}")
    decided = {number for number, (_, decision) in rows.runs.items() if decision}
    if decided != log.decided:
        yield Fault("decision", f"runs {sorted(decided)} have one, told was {sorted(log.decided)}")


def _of_rounds(rows: Rows, log: Log) -> Iterator[Fault]:
    for place in sorted(rows.rounds.keys() | log.rounds.keys()):
        row, told, name = rows.rounds.get(place), log.rounds.get(place), f"round {place[1]} of run {place[0]}"
        if row is None or told is None:
            yield Fault("round", f"{name} is {'told and not stored' if row is None else 'stored and not told'}")
            continue
        if (row.stage, row.closed) != (told.stage, told.closed):
            yield Fault(
                "round", f"{name}: its row says {row.stage}, closed {row.closed}; the log {told.stage}, {told.closed}"
            )
        if row.counted != (told.tallies > 0):
            yield Fault("tally", f"{name} is {'stored' if row.counted else 'told'} as counted only")
        yield from _of_asked(rows, place, told)


def _of_asked(rows: Rows, place: Place, told: RoundTold) -> Iterator[Fault]:
    here = [turn for turn in rows.turns.values() if (turn.run, turn.round) == place and turn.kind != TurnKind.REPLY]
    seats = sorted(turn.seat for turn in here if turn.seat and not turn.ordinal)
    if seats != sorted(told.asked):
        yield Fault(
            "turn", f"round {place[1]} of run {place[0]}: {len(told.asked)} seats were asked, {len(seats)} have turns"
        )
    if told.closed and any(turn.status not in ENDED for turn in here):
        yield Fault("barrier", f"round {place[1]} of run {place[0]} is closed, and a turn in it has not ended")


def _of_turns(rows: Rows, log: Log) -> Iterator[Fault]:
    for turn in sorted(log.turns.keys() - rows.turns.keys()):
        yield Fault("turn", f"turn {turn} is told and not stored")
    for identity, row in rows.turns.items():
        told = log.turns.get(identity)
        if told is None:
            if row.attempt or row.status != "pending":
                yield Fault("turn", f"turn {identity} is {row.status}, and the log knows nothing of it")
        elif (row.status, row.attempt) != (told.status, told.attempt):
            yield Fault(
                "turn",
                f"turn {identity} is {row.status} in attempt {row.attempt}, told was {told.status} in {told.attempt}",
            )
        elif row.status in ENDED and row.said != told.said and not _shut(rows, told.place):
            yield Fault("result", f"turn {identity} says something else than was told")


def _shut(rows: Rows, place: Place) -> bool:
    row = rows.rounds.get(place)
    return row is not None and row.sealed and not row.closed


def _of_ballots(rows: Rows, log: Log) -> Iterator[Fault]:
    stored = {(run, number, seat) for (run, number), seats in rows.ballots.items() for seat in seats}
    copied = {(t.run, t.round, t.seat or "") for t in log.turns.values() if t.copied and t.kind == TurnKind.BALLOT}
    for run, number, seat in sorted(log.cast.keys() - stored):
        yield Fault("ballot", f"seat {seat} is said to have cast one in round {number} of run {run}")
    for run, number, seat in sorted(stored - log.cast.keys() - copied):
        yield Fault("ballot", f"seat {seat} has one in round {number} of run {run} that was never cast")


def _of_budget(rows: Rows, log: Log) -> Iterator[Fault]:
    for name in PURSE:
        if rows.budget[name] != rows.used[name]:
            yield Fault("budget", f"{rows.budget[name]} {name} used, by its calls {rows.used[name]}")
        if rows.reserved[name] != rows.running[name]:
            yield Fault("budget", f"{rows.reserved[name]} {name} reserved, by running calls {rows.running[name]}")
        if name in log.limits and log.limits[name] != rows.limits[name]:
            yield Fault("budget", f"the limit of {name} is {rows.limits[name]}, told was {log.limits[name]}")
    # Calls that were settled alone (fenced off, orphaned) are told of by the next event only.
    same = log.usage.get("calls", 0) == rows.budget["calls"]
    for name in PURSE:
        told, used = log.usage.get(name, 0), float(rows.budget[name])
        if told > used or (same and told != used and name in log.usage):
            yield Fault("budget", f"{used} {name} used, told was {told}")


_COMPARED = (_of_session, _of_runs, _of_rounds, _of_turns, _of_ballots, _of_budget)
