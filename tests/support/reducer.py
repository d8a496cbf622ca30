"""snapshot(k) + events k+1..n = snapshot(n): what a client does with the events, written as plainly as possible."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]


def reduce(snapshot: Json, events: list[Json]) -> Json:
    """Apply ``{seq, type, data}`` in order to a council snapshot."""
    state = copy.deepcopy(snapshot)
    for event in events:
        _apply(state, event["type"], event["data"])
        state["last_seq"] = event["seq"]
    return state


def _apply(state: Json, kind: str, data: Json) -> None:
    family = kind.partition(".")[0]
    if family in {"session", "budget"}:
        _merge_session(state, data)
    elif family == "turn":
        _put(
            _round(state, data)["turns"], {key: data[key] for key in data if key not in {"retry_in_s", "usage"}}, "turn"
        )
        state["session"]["usage"] = data.get("usage", state["session"]["usage"])
    elif kind == "round.started":
        state["rounds"].append({**data, "closed_at": None, "turns": [], "tally": None, "ballots": [], "texts": []})
        state["session"]["round"] = data["round"]
    elif kind == "round.closed":
        _round(state, data).update(closed_at=data["closed_at"], ballots=data["ballots"], texts=data["texts"])
        for turn in data.get("turns", ()):  # sealed until now, for a person sits in the round
            _put(_round(state, data)["turns"], turn, "turn")
    elif kind == "tally.computed":
        _round(state, data)["tally"] = data["tally"]
    elif kind == "message.created":
        state["messages"].append(data["message"])
    elif kind == "decision.reached":
        state["decisions"].append(data["decision"])
    elif kind == "decision.revised":
        _put(state["decisions"], data["decision"], "run")


def _merge_session(state: Json, data: Json) -> None:
    state["session"].update(data.get("session", {}))
    for name in ("usage", "budget"):
        if name in data:
            state["session"][name] = data[name]


def _round(state: Json, data: Json) -> Json:
    found: Json = next(one for one in state["rounds"] if (one["run"], one["round"]) == (data["run"], data["round"]))
    return found


def _put(rows: list[Json], row: Json, key: str) -> None:
    for index, old in enumerate(rows):
        if old[key] == row[key]:
            rows[index] = row
            return
    rows.append(row)


# --- Knowledge packs ----------------------------------------------------------------------------------------------------


def reduce_pack(snapshot: Json, events: list[Json]) -> Json:
    """Apply ``{seq, type, data}`` in order to a pack's snapshot. Entries are compared by id: their order is their ``ordinal``."""
    header, entries = dict(snapshot["pack"]), {entry["id"]: dict(entry) for entry in snapshot["entries"]}
    seq = snapshot["last_seq"]
    for event in events:
        kind, data, seq = event["type"], event["data"], event["seq"]
        header |= data.get("pack", {})
        if kind == "entry.reordered":
            for place in data["entries"]:
                entries[place["id"]] |= place
        elif kind == "entry.deleted" or (kind == "entry.moved" and data["entry"]["pack"] != header["id"]):
            del entries[data["entry"]["id"]]
        elif "entry" in data:
            entries[data["entry"]["id"]] = {**entries.get(data["entry"]["id"], {}), **data["entry"]}
    return {"pack": header, "entries": sorted(entries.values(), key=lambda entry: str(entry["id"])), "last_seq": seq}


# --- A person's own stream ------------------------------------------------------------------------------------------------

WINDOW, RECENT, OPEN = 500, 20, ("running", "paused")


def reduce_me(snapshot: Json, events: list[Json]) -> Json:
    """Apply ``{seq, type, at, data}`` in order to the snapshot of a person's own stream."""
    state = copy.deepcopy(snapshot)
    for event in events:
        kind, data, seq = event["type"], event["data"], event["seq"]
        state["last_seq"] = seq
        if kind.startswith("session."):
            _put(state["sessions"], data["session"], "id")
        elif kind == "notification.created":
            state["notifications"].append({"seq": seq, "at": event["at"], **data["notification"]})
        elif kind == "notifications.read":
            state["read_up_to"] = data["up_to"]
        elif kind in {"pack.unshared", "pack.deleted"}:
            state["notifications"] = [one for one in state["notifications"] if one["about"]["id"] != data["pack"]["id"]]
        after = max(state["read_up_to"], seq - WINDOW)
        state["notifications"] = [one for one in state["notifications"] if one["seq"] > after]
    newest = sorted(state["sessions"], key=lambda one: (one["created_at"], one["id"]), reverse=True)
    state["sessions"] = [one for place, one in enumerate(newest) if place < RECENT or one["status"] in OPEN]
    return state
