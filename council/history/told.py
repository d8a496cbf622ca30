"""What a council's event log tells, walked once in its order as the tables of ``council.states`` allow it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from council.deliberation.types import Stage, TurnKind
from council.states import RUN_TRANSITIONS, SESSION_TRANSITIONS, TURN_TRANSITIONS

Json = dict[str, Any]
Place = tuple[int, int]  # run, round
UNTOLD = frozenset({TurnKind.BALLOT, TurnKind.TALLY})  # whose results stand elsewhere: in ballots and tallies
COUNTED = frozenset({Stage.OPENING, Stage.DEBATE, Stage.BALLOT})
ENDED = frozenset({"completed", "failed", "cancelled"})
_RUN_ENDS = frozenset({"completed", "stopped", "failed"})
_SESSION_VERBS = {"created": "draft", "started": "running", "resumed": "running"}  # others name the status themselves
_TURN_VERBS = {"started": "running", "retrying": "pending"}
PURSE = ("tokens", "usd", "calls", "seconds")


class Event(NamedTuple):
    seq: int
    type: str
    data: Json


class Fault(NamedTuple):
    """``rule``: seq, transition, attempt, result, barrier, round, tally, ballot, decision, budget, turn, message or session."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


def said_of(kind: str, body: Mapping[str, Any]) -> str:
    """A digest of all that a turn that has ended brought: ``result``, ``evidence``, ``error``, ``error_detail``."""
    result, evidence = (None, []) if kind in UNTOLD else (body["result"], body["evidence"])
    whole = [result, evidence, body["error"], body["error_detail"]]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


@dataclass(slots=True)
class TurnTold:
    run: int
    round: int
    seat: str | None
    kind: str
    ordinal: int
    status: str
    attempt: int
    said: str = ""
    copied: bool = False

    @property
    def place(self) -> Place:
        return self.run, self.round


@dataclass(slots=True)
class RoundTold:
    stage: str
    asked: list[str]
    closed: bool = False
    tallies: int = 0


@dataclass(slots=True)
class Log:
    """What the log has told so far."""

    faults: list[Fault] = field(default_factory=list)
    seq: int = 0
    session: Json = field(default_factory=dict)
    status: str = ""
    runs: dict[int, str] = field(default_factory=dict)
    rounds: dict[Place, RoundTold] = field(default_factory=dict)
    open_round: Place | None = None
    turns: dict[str, TurnTold] = field(default_factory=dict)
    cast: dict[tuple[int, int, str], str] = field(default_factory=dict)  # the ballot's turn
    decided: set[int] = field(default_factory=set)
    recounted: set[int] = field(default_factory=set)  # runs that wait for their revised decision
    messages: set[str] = field(default_factory=set)
    usage: Json = field(default_factory=dict)
    limits: Json = field(default_factory=dict)
    at: str = ""
    kind: str = ""  # of the event that is being read

    def take(self, event: Event) -> None:
        self.at, self.kind = f"event {event.seq} ({event.type})", event.type
        if event.seq != self.seq + 1:
            self._fault("seq", f"follows {self.seq}")
        self.seq = event.seq
        family, _, verb = event.type.partition(".")
        if not self.status and event.type != "session.created":
            self._fault("transition", "comes before session.created")
        {"session": self._session, "round": self._round, "turn": self._turn}.get(family, self._other)(verb, event.data)
        if "usage" in event.data:
            self._usage(event.data["usage"])
        self.limits = event.data.get("budget", self.limits)

    def end(self) -> None:
        self.at = "the end"
        self._none_recounted()

    @property
    def run(self) -> int | None:
        """The run that is open."""
        return next((number for number, status in self.runs.items() if status not in _RUN_ENDS), None)

    def _fault(self, rule: str, detail: str) -> None:
        self.faults.append(Fault(rule, f"{self.at}: {detail}"))

    # --- sessions and runs

    def _session(self, verb: str, data: Json) -> None:
        status = self.status if verb == "updated" else _SESSION_VERBS.get(verb, verb)
        if verb == "created":
            if self.status:
                self._fault("transition", "the session was there already")
        elif verb != "updated" and self.status and status not in SESSION_TRANSITIONS.get(self.status, ()):
            self._fault("transition", f"a session that is {self.status} became {status}")
        self.status = status
        self._none_recounted()
        told = data["session"]
        if told["status"] != status:
            self._fault("transition", f"says {told['status']}, and the session is {status}")
        self.session.update(told)
        for name in ("usage", "budget"):
            if name in told:
                setattr(self, "limits" if name == "budget" else name, told[name])
        self._move_run(verb, status, data)

    def _move_run(self, verb: str, status: str, data: Json) -> None:
        if verb == "started":
            if self.run is not None:
                self._fault("transition", f"run {self.run} is open still")
            if data["run"] != len(self.runs) + 1:
                self._fault("transition", f"run {data['run']} follows run {len(self.runs)}")
            self.runs[data["run"]] = "running"
        elif status in RUN_TRANSITIONS and verb not in {"updated", "created"}:
            run = self.run
            if run is None or status not in RUN_TRANSITIONS[self.runs[run]]:
                self._fault("transition", f"no run could become {status}")
                return
            if status in _RUN_ENDS:
                self._end_run(run, status)
            self.runs[run] = status

    def _end_run(self, run: int, status: str) -> None:
        if self.open_round is not None:
            self._fault("round", f"round {self.open_round[1]} of run {run} is open still")
            self.open_round = None
        if status == "completed":
            self._counted((run, self._last(run)))
        if (status == "completed") != (run in self.decided):
            self._fault("decision", f"run {run} is {status} {'with' if run in self.decided else 'without'} a decision")

    # --- rounds

    def _round(self, verb: str, data: Json) -> None:
        place = (data["run"], data["round"])
        if verb == "started":
            self._open(place, data)
        elif verb == "closed":
            self._close(place, data)

    def _open(self, place: Place, data: Json) -> None:
        before = self._last(place[0])
        if place in self.rounds:
            return self._fault("round", "was started before")
        if place[1] != before + 1:
            self._fault("round", f"round {place[1]} follows round {before}")
        if place[0] != self.run:
            self._fault("round", f"run {place[0]} is not open")
        if self.open_round is not None:
            self._fault("round", f"round {self.open_round[1]} is open still")
        self._counted((place[0], before))
        self.rounds[place] = RoundTold(data["stage"], data["asked"])
        self.open_round = place
        self.session["round"] = place[1]
        return None

    def _last(self, run: int) -> int:
        """The number of its last round; 0 before the first."""
        return max((number for of, number in self.rounds if of == run), default=0)

    def _counted(self, place: Place) -> None:
        told = self.rounds.get(place)
        if told is not None and told.stage in COUNTED and not told.tallies:
            self._fault("tally", f"round {place[1]} ({told.stage}) was never counted")

    def _close(self, place: Place, data: Json) -> None:
        told = self.rounds.get(place)
        if told is None or told.closed:
            self._fault("round", "was closed before" if told else "was never started")
            return
        here = [turn for turn in self.turns.values() if turn.place == place and turn.kind != TurnKind.REPLY]
        waiting = [turn for turn in here if turn.status not in ENDED]
        silent = set(told.asked) - {turn.seat for turn in here if turn.status in ENDED}
        if waiting or silent:
            self._fault("barrier", f"{len(waiting) or len(silent)} turns have not ended")
        cast = {seat for run, number, seat in self.cast if (run, number) == place}
        opened = {ballot["seat"] for ballot in data["ballots"]}
        copied = {turn.seat for turn in here if turn.copied and turn.kind == TurnKind.BALLOT}
        if not cast <= opened <= cast | copied:
            self._fault("ballot", "the ballots that were opened are not those that were cast")
        for body in data.get("turns", ()):
            if body["turn"] in self.turns and body["status"] in ENDED:
                self.turns[body["turn"]].said = said_of(body["kind"], body)
        told.closed = True
        self.open_round = None if self.open_round == place else self.open_round

    # --- turns

    def _turn(self, verb: str, data: Json) -> None:
        status = _TURN_VERBS.get(verb, verb)
        key = (data["run"], data["round"], data["seat"], data["kind"], data["ordinal"])
        turn = self.turns.get(data["turn"])
        if turn is None:
            copied = bool(data.get("copied_from"))
            turn = self.turns[data["turn"]] = TurnTold(*key, "pending", data["attempt"] if copied else 0, copied=copied)
            if copied and status in ENDED:  # it ended elsewhere; this is its first word here
                turn.status = "running"
        if key != (*turn.place, turn.seat, turn.kind, turn.ordinal):
            self._fault("turn", f"turn {data['turn']} stood elsewhere before")
        if status == "completed" == turn.status:
            self._fault("result", f"turn {data['turn']} has a second result")
        elif status not in TURN_TRANSITIONS[turn.status]:
            self._fault("transition", f"turn {data['turn']}, which is {turn.status}, became {status}")
        elif data["status"] != status:
            self._fault("transition", f"turn {data['turn']} is said to be {data['status']}")
        if data["attempt"] != turn.attempt + (verb == "started"):
            self._fault("attempt", f"attempt {data['attempt']} of turn {data['turn']} follows {turn.attempt}")
        if turn.kind != TurnKind.REPLY and turn.place != self.open_round:
            self._fault("barrier", f"round {turn.round} of run {turn.run} is not open")
        turn.status, turn.attempt = status, data["attempt"]
        turn.said = said_of(turn.kind, data) if status in ENDED else ""

    # --- what else is told

    def _other(self, verb: str, data: Json) -> None:
        match self.kind:
            case "ballot.cast":
                self._ballot(data)
            case "tally.computed":
                self._tally((data["run"], data["round"]))
            case "decision.reached" | "decision.revised":
                self._decision(verb, data["decision"]["run"])
            case "message.created":
                self.messages.add(data["message"]["id"])

    def _ballot(self, data: Json) -> None:
        key = (data["run"], data["round"], data["seat"])
        if key in self.cast:
            self._fault("ballot", f"seat {data['seat']} has cast one in this round")
        if key[:2] != self.open_round:
            self._fault("ballot", f"round {data['round']} of run {data['run']} is not open")
        self.cast[key] = data["turn"]

    def _tally(self, place: Place) -> None:
        told = self.rounds.get(place)
        if told is None:
            self._fault("tally", "its round was never started")
        elif told.closed:
            self.recounted.add(place[0])
        elif told.tallies:
            self._fault("tally", "the round was counted before")
        if told is not None:
            told.tallies += 1

    def _decision(self, verb: str, run: int) -> None:
        if verb == "revised":
            self.recounted.discard(run)
            if run not in self.decided:
                self._fault("decision", f"run {run} had none")
            return
        if run in self.decided:
            self._fault("decision", f"run {run} has one")
        if run != self.run:
            self._fault("decision", f"run {run} is not open")
        self.decided.add(run)

    def _none_recounted(self) -> None:
        for run in sorted(self.recounted):
            self._fault("tally", f"a closed round of run {run} was counted again without a revised decision")
        self.recounted.clear()

    def _usage(self, usage: Json) -> None:
        fallen = [name for name in PURSE if usage.get(name, 0) < self.usage.get(name, 0)]
        if fallen:
            self._fault("budget", f"less {', '.join(fallen)} used than before")
        self.usage = usage
