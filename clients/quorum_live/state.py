"""State from news: snapshot(k) and the events after k are snapshot(n), written as plainly as possible."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from .news import Delta, Event, Json, News, Snapshot

Hook = Callable[[Event], object]


class State(ABC):
    """What is known of a stream. ``value`` has the shape of its snapshot; hooks hear each event after it has been applied."""

    def __init__(self, value: Json | None = None) -> None:
        self.value: Json | None = copy.deepcopy(value)
        self._hooks: dict[str, list[Hook]] = defaultdict(list)

    def on(self, kind: str, hook: Hook) -> None:
        """``kind``: a type of event (``turn.completed``), a family (``turn``), or ``*`` for all."""
        self._hooks[kind].append(hook)

    def apply(self, news: News) -> None:
        """An event that is known already changes nothing. Raises ``ValueError`` for one without a state that it could change."""
        if isinstance(news, Snapshot):
            self.value = copy.deepcopy(news.state)
        elif isinstance(news, Event):
            self._event(news)

    @abstractmethod
    def change(self, value: Json, event: Event) -> None:
        """Change ``value`` in place as an event says; what it says is ours to keep."""

    def _event(self, event: Event) -> None:
        value = self.value if self.value is not None else self.beginning(event)
        if event.seq <= value["last_seq"]:
            return
        self.change(value, replace(event, data=copy.deepcopy(event.data)))
        value["last_seq"] = event.seq
        self.value = value
        for kind in (event.type, event.type.partition(".")[0], "*"):
            for hook in self._hooks.get(kind, ()):
                hook(event)

    def beginning(self, event: Event) -> Json:
        """The state before the log's first event, where that is what comes first."""
        raise ValueError(f"event {event.seq} came before any snapshot")


# --- Council sessions -------------------------------------------------------------------------------------------------


def empty_council() -> Json:
    return {"session": {}, "rounds": [], "messages": [], "decisions": [], "last_seq": 0}


class Council(State):
    """A council session. ``live`` holds what models are writing just now, by turn."""

    def __init__(self, value: Json | None = None) -> None:
        super().__init__(value)
        self.live: dict[str, str] = {}
        self._attempts: dict[str, int] = {}  # of which text is awaited: by turn, the one that runs or the next

    def apply(self, news: News) -> None:
        if isinstance(news, Delta):
            self._hear(news)
            return
        if isinstance(news, Snapshot):
            self.live, self._attempts = {}, {}
        super().apply(news)

    def beginning(self, event: Event) -> Json:
        return empty_council() if event.seq == 1 else super().beginning(event)

    def change(self, value: Json, event: Event) -> None:
        kind, data = event.type, event.data
        if kind.startswith("turn."):  # a new attempt begins anew, and what has ended is in the record
            self.live.pop(data["turn"], None)
            self._attempts[data["turn"]] = data["attempt"] + (kind != "turn.started")
        _change_council(value, kind, data)

    def _hear(self, delta: Delta) -> None:
        """One of another attempt, or one that leaves a hole, changes nothing: the server sends the whole text again."""
        awaited = self._attempts.get(delta.turn, 0)
        known = self.live.get(delta.turn, "") if delta.attempt == awaited else ""
        if delta.attempt < awaited or delta.start > len(known):
            return
        self._attempts[delta.turn] = delta.attempt
        self.live[delta.turn] = known[: delta.start] + delta.text


def reduce_council(snapshot: Json, events: Iterable[Json]) -> Json:
    """The snapshot after ``{seq, type, data}`` in order; ``empty_council()`` before the first."""
    return _reduced(Council(snapshot), events)


def _reduced(state: State, events: Iterable[Json]) -> Json:
    for one in events:
        state.apply(Event(one["seq"], one["type"], one.get("at", ""), one["data"]))
    if state.value is None:
        raise ValueError("there is neither a snapshot nor an event")
    return state.value


def _change_council(state: Json, kind: str, data: Json) -> None:
    match kind.split("."):
        case ["session" | "budget", _]:
            state["session"].update(data.get("session", {}))
            state["session"].update({name: data[name] for name in ("usage", "budget") if name in data})
        case ["turn", _]:
            state["session"].update({name: data.pop(name) for name in ("usage",) if name in data})
            data.pop("retry_in_s", None)
            _put(_round(state, data)["turns"], data, "turn")
        case ["round", "started"]:
            state["rounds"].append({**data, "closed_at": None, "turns": [], "tally": None, "ballots": [], "texts": []})
            state["session"]["round"] = data["round"]
        case ["round", "closed"]:
            found = _round(state, data)
            found.update({name: data[name] for name in ("closed_at", "ballots", "texts")})
            for turn in data.get("turns", ()):  # sealed until now, for a person sits in the round
                _put(found["turns"], turn, "turn")
        case ["tally", "computed"]:
            _round(state, data)["tally"] = data["tally"]
        case ["message", "created"]:
            state["messages"].append(data["message"])
        case ["decision", _]:  # a revised one takes the place of the run's
            _put(state["decisions"], data["decision"], "run")


def _round(state: Json, data: Json) -> Json:
    wanted = (data["run"], data["round"])
    found: Json = next(one for one in state["rounds"] if (one["run"], one["round"]) == wanted)
    return found


def _put(rows: list[Any], row: Json, key: str) -> None:
    for index, old in enumerate(rows):
        if old[key] == row[key]:
            rows[index] = row
            return
    rows.append(row)


# --- Knowledge packs --------------------------------------------------------------------------------------------------


class Pack(State):
    """A knowledge pack. Entries stand in no order: their place is their ``ordinal``."""

    def __init__(self, value: Json | None = None) -> None:
        super().__init__(value)
        self._by_id: dict[str, Json] = {}
        self._index()

    def apply(self, news: News) -> None:
        super().apply(news)
        if isinstance(news, Snapshot):
            self._index()

    def beginning(self, event: Event) -> Json:
        return {"pack": {}, "entries": [], "last_seq": 0} if event.seq == 1 else super().beginning(event)

    def change(self, value: Json, event: Event) -> None:
        kind, data = event.type, event.data
        if kind.startswith("pack.space_"):
            return  # its ``pack`` is an id, and nothing of it is in the snapshot
        value["pack"].update(data.get("pack", {}))
        if kind == "entry.reordered":
            for place in data["entries"]:
                self._merge(value, place)
        elif kind == "entry.deleted" or (kind == "entry.moved" and data["entry"]["pack"] != value["pack"]["id"]):
            value["entries"].remove(self._by_id.pop(data["entry"]["id"]))
        elif "entry" in data:
            self._merge(value, data["entry"])

    def _merge(self, value: Json, changed: Json) -> None:
        known = self._by_id.get(changed["id"])
        if known is not None:
            known.update(changed)
            return
        self._by_id[changed["id"]] = changed
        value["entries"].append(changed)

    def _index(self) -> None:
        self._by_id = {entry["id"]: entry for entry in (self.value or {}).get("entries", ())}


def reduce_pack(snapshot: Json, events: Iterable[Json]) -> Json:
    """As ``reduce_council``, of a pack."""
    return _reduced(Pack(snapshot), events)


# --- One's own stream -------------------------------------------------------------------------------------------------


class Me(State):
    """What becomes of one's own councils and packs, and what waits for oneself (``/ws/me``). Packs are in the events only."""

    UNREAD, RECENT, OPEN = 500, 20, ("running", "paused")

    def change(self, value: Json, event: Event) -> None:
        kind, data = event.type, event.data
        if kind.startswith("session."):
            _put(value["sessions"], data["session"], "id")
            newest = sorted(value["sessions"], key=lambda one: (one["created_at"], one["id"]), reverse=True)
            value["sessions"] = newest[: self.RECENT] + [
                one for one in newest[self.RECENT :] if one["status"] in self.OPEN
            ]
        elif kind == "notification.created":
            value["notifications"].append({"seq": event.seq, "at": event.at, **data["notification"]})
        elif kind == "notifications.read":
            value["read_up_to"] = data["up_to"]
        elif kind in {"pack.unshared", "pack.deleted"}:
            gone = data["pack"]["id"]
            value["notifications"] = [one for one in value["notifications"] if one["about"]["id"] != gone]
        after = max(value["read_up_to"], event.seq - self.UNREAD)
        value["notifications"] = [one for one in value["notifications"] if one["seq"] > after]


def reduce_me(snapshot: Json, events: Iterable[Json]) -> Json:
    """As ``reduce_council``, of one's own stream; events need their ``at`` here."""
    return _reduced(Me(snapshot), events)
