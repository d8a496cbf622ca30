"""From a session's snapshot to what the page shows of it. ``static/js/view.js`` does the same for the live page.

Plain data in, plain data out, so that templates only loop. All of it is untrusted text; templates escape it.
"""

from __future__ import annotations

from typing import Any

from council.deliberation.types import HUMAN
from council.pages import wording
from council.pages.citing import cited, parts, statuses
from council.pages.counting import count, labels
from council.pages.deciding import decision

Json = dict[str, Any]


def view(snapshot: Json, reason: str = "") -> Json:
    """Everything that the page of a session shows; ``reason`` is why its latest run failed."""
    session, rounds = snapshot["session"], latest_run(snapshot["rounds"])
    concluded = session["status"] == "completed"
    decisions = snapshot["decisions"]
    current = decisions[-1] if concluded and decisions else None
    names = {seat["id"]: seat["name"] for seat in session["agents"]}
    return {
        "status": session["status"],
        "badge": wording.STATUS[session["status"]],
        "sentence": sentence(session, rounds, reason),
        "usage": usage(session),
        "stages": stages(session, rounds),
        "seats": [show_seat(seat, session, rounds, snapshot["rounds"]) for seat in session["agents"]],
        "warnings": session["warnings"],
        "counts": [count(round_, rounds, names) for round_ in rounds if countable(round_)],
        "decision": decision(current, labels(rounds)) if current else None,
        "earlier": [
            {**decision(one, {}), "place": str(at)}
            for at, one in enumerate(decisions[:-1] if current else decisions, start=1)
        ],
        "waiting": waiting(session, rounds),
        "messages": [{**message, "at": wording.minute(message["created_at"])} for message in snapshot["messages"]],
    }


def waiting(session: Json, rounds: list[Json]) -> str:
    """What of the open round waits for people, as one word: when it changes, the page asks for the forms again."""
    current = open_round(rounds)
    if current is None or session["status"] != "running":
        return ""
    over = {turn["seat"] for turn in current["turns"] if ended(turn)}
    people = {seat["id"] for seat in session["agents"] if is_human(seat)}
    out = [seat for seat in current["asked"] if seat in people and seat not in over]
    if any(turn["kind"] == "attack" and ended(turn) for turn in current["turns"]):
        out.append("stand-in")  # who makes the case instead is told by no event
    gate = ["gate"] if current["stage"] == "gate" and not current["turns"] else []
    return f"{current['run']}.{current['round']}: {' '.join([*out, *gate])}" if out or gate else ""


def is_human(seat: Json) -> bool:
    return bool(seat["model"] == HUMAN)


def latest_run(rounds: list[Json]) -> list[Json]:
    last = max((round_["run"] for round_ in rounds), default=0)
    return [round_ for round_ in rounds if round_["run"] == last]


def countable(round_: Json) -> bool:
    return round_["tally"] is not None or round_["stage"] == "ballot"


def open_round(rounds: list[Json]) -> Json | None:
    return rounds[-1] if rounds and rounds[-1]["closed_at"] is None else None


def usage(session: Json) -> str:
    tokens = session["usage"]["tokens"]
    return f"{tokens:,} tokens used" if tokens else ""


# --- Status -----------------------------------------------------------------------------------------------------------


def sentence(session: Json, rounds: list[Json], reason: str) -> str:
    """One line for the status, also read out by screen readers."""
    status = session["status"]
    if status == "draft":
        return "Not started yet."
    if status == "failed":
        return f"No decision: {wording.reason(reason)}." if reason else "No decision."
    if status == "stopped":
        return "Stopped before a decision."
    if status == "completed":
        return f"Concluded after {len(rounds)} {'round' if len(rounds) == 1 else 'rounds'}."
    if status == "paused":
        return "Paused: seats that are at work finish, and nobody else is asked."
    current = open_round(rounds)
    return progress(current) if current else "Getting ready."


def progress(round_: Json) -> str:
    if round_["stage"] == "gate":
        return f"Round {round_['round']}: waits for a person to approve the outcome."
    done = len({turn["seat"] for turn in round_["turns"] if turn["seat"] and ended(turn)})
    asked = len(round_["asked"])
    return f"Round {round_['round']}, {wording.STAGE[round_['stage']].lower()}: {done} of {asked} seats are done."


def ended(turn: Json) -> bool:
    return turn["status"] in {"completed", "failed", "cancelled"}


def stages(session: Json, rounds: list[Json]) -> list[Json]:
    """The protocol's stages with where the run stands: done, active, ahead, or skipped when a later one has begun."""
    names = list(session["protocol"].get("stages", []))
    if session["protocol"].get("gate") and "synthesis" in names:
        names.insert(names.index("synthesis"), "gate")
    seen = {round_["stage"]: "active" if round_["closed_at"] is None else "done" for round_ in rounds}
    return [stage(name, seen, names[place + 1 :]) for place, name in enumerate(names)]


def stage(name: str, seen: dict[str, str], later: list[str]) -> Json:
    state = seen.get(name) or ("skipped" if any(one in seen for one in later) else "ahead")
    return {"label": wording.STAGE[name] + (" (skipped)" if state == "skipped" else ""), "state": state}


# --- Seats ------------------------------------------------------------------------------------------------------------


def show_seat(seat: Json, session: Json, rounds: list[Json], every: list[Json]) -> Json:
    """``every``: the rounds of all runs, for replies to people stand beside the run."""
    turns = [turn for turn in turns_of(seat, rounds) if turn["kind"] != "reply"]
    replies = [turn for turn in turns_of(seat, every) if turn["kind"] == "reply" and turn["result"]]
    stage_of = {round_["round"]: round_["stage"] for round_ in rounds}
    hidden = {"synthesis", "dissent"} if session["status"] == "completed" else set()  # the decision shows them
    said = [
        contribution(turn, stage_of[turn["round"]]) for turn in turns if turn["result"] and turn["kind"] not in hidden
    ]
    state, label = seat_state(seat, turns[-1] if turns else None, session, rounds)
    shown = {"human": is_human(seat), "latest": said[-1] if said else None, "before": said[:-1]}
    return {**seat, **shown, "state": state, "label": label, "replies": [contribution(one, "") for one in replies]}


def turns_of(seat: Json, rounds: list[Json]) -> list[Json]:
    return [turn for round_ in rounds for turn in round_["turns"] if turn["seat"] == seat["id"]]


def seat_state(seat: Json, turn: Json | None, session: Json, rounds: list[Json]) -> tuple[str, str]:
    """A word for the style sheet and one for people."""
    current = open_round(rounds)
    if current and seat["id"] in current["asked"] and (turn is None or turn["round"] != current["round"]):
        return "waiting", "waits for a person" if is_human(seat) else "waiting"
    if turn is None:
        return ("waiting", "waiting") if session["status"] == "running" else ("idle", "")
    return turn_state(turn)


def turn_state(turn: Json) -> tuple[str, str]:
    why = wording.reason(turn["error"]) if turn["error"] else ""
    match turn["status"]:
        case "running":
            return ("voting", "voting in secret") if turn["kind"] == "ballot" else ("thinking", "thinking")
        case "pending":
            return "retrying", f"will try again: {why}" if why else "will be asked again"
        case "failed":
            return "failed", f"failed: {why}"
        case "cancelled":
            return "cancelled", why if turn["error"] == "not_needed" else "was stopped"
        case _:
            return "done", wording.DONE[turn["kind"]]


def spoken(result: Json) -> str:
    """The words of a turn that is neither an answer nor the decision."""
    verdict = result.get("verdict")
    if verdict is not None:
        return f"{'Accepts' if verdict['accept'] else 'Rejects'} the text. {verdict['reason']}".strip()
    return str((result.get("dissent") or result.get("attack") or result.get("reply") or {}).get("text", ""))


def heading(turn: Json, stage: str) -> str:
    words = wording.CONTRIBUTION[stage if turn["kind"] == "answer" else turn["kind"]]
    return f"{words} (carried over)" if turn.get("copied_from") else words


def contribution(turn: Json, stage: str) -> Json:
    """What a seat said in one turn."""
    result = turn["result"]
    answer = result.get("answer", {})
    text = (answer or result.get("synthesis") or {}).get("answer") or spoken(result)
    checks = result.get("citations", [])
    return {
        "key": turn["turn"],
        "heading": heading(turn, stage),
        "asked": result.get("reply", {}).get("question"),
        "parts": parts(text, statuses(checks)),
        "option": answer.get("option"),
        "confidence": wording.percent(answer.get("confidence")),
        "because": answer.get("changed_because"),
        "sources": cited(text, checks, turn["evidence"]),
    }
