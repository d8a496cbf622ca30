"""A record as minutes that people read: plain values in the order of the page, for the Markdown and the HTML to loop over.

Wording and layout of counts and decisions are those of the council's page.
"""

from __future__ import annotations

from typing import Any

from council.deliberation.types import HUMAN
from council.pages import wording
from council.pages.citing import cited, source
from council.pages.counting import count, labels
from council.pages.deciding import facts, flip, missing, rules
from council.pages.showing import countable, spoken

Json = dict[str, Any]
_WHY = {"denies": "denies it", "other_figures": "gives other figures"}


def minutes(record: Json) -> Json:
    session = record["session"]
    names = {seat["id"]: seat["name"] for seat in session["agents"]}
    return {
        "question": session["question"],
        "options": session["options"],
        "facts": _about(record),
        "seats": [_seat(seat) for seat in session["agents"]],
        "packs": [
            pack["name"] + (f" (snapshot {pack['snapshot']['label']})" if pack["snapshot"] else "")
            for pack in record["packs"]
        ],
        "runs": [_run(run, names) for run in record["runs"]],
        "messages": [{**message, "at": wording.minute(message["created_at"])} for message in record["messages"]],
    }


def _about(record: Json) -> list[Json]:
    session = record["session"]
    return _pairs(
        ("Council", session["id"]),
        ("Status", wording.STATUS[session["status"]]),
        ("Convened", wording.minute(session["created_at"])),
        ("Concluded", wording.minute(session["finished_at"])),
        ("Tokens used", f"{session['usage']['tokens']:,}"),
        ("Forked from", _fork(session.get("forked_from"))),
        ("Exported", wording.minute(record["exported_at"])),
    )


def _fork(origin: Json | None) -> str:
    """What the council comes from, in one line; seats and entries that were left out by their ids."""
    if origin is None:
        return ""
    left_out = [f"{what} {', '.join(ids)}" for what, ids in _left_out(origin["changes"]) if ids]
    kept = f"keeps {origin['kept']} of its rounds, new from round {origin['new_from']}"
    return "; ".join([f"council {origin['session']}, run {origin['run']}", kept, *left_out, *origin["notes"]])


def _left_out(changes: Json) -> list[tuple[str, list[str]]]:
    return [
        ("without the seats", changes.get("without_seats", [])),
        ("without the entries", changes.get("without_entries", [])),
        ("with another", [name for name in changes if not name.startswith("without_")]),
    ]


def _pairs(*pairs: tuple[str, str]) -> list[Json]:
    return [{"term": term, "value": value} for term, value in pairs if value]


def _seat(seat: Json) -> Json:
    return {
        "name": seat["name"],
        "role": seat["role"],
        "sits": "a person" if seat["model"] == HUMAN else f"on {seat['model'] or 'the default model'}",
        "chair": seat["chair"] and seat["name"].lower() != "chair",
    }


def _run(run: Json, names: dict[str, str]) -> Json:
    known = labels(run["rounds"])
    protocol = run["protocol"]
    return {
        "number": run["number"],
        "facts": _pairs(
            ("Started", wording.minute(run["started_at"])),
            ("Protocol", str(protocol.get("preset", ""))),
            ("Rule", wording.RULE.get(str(protocol.get("rule")), str(protocol.get("rule", "")))),
            ("Seed", "" if run["seed"] is None else str(run["seed"])),
            ("Failed", wording.reason(run["reason"]) if run["reason"] else ""),
        ),
        "decision": _decision(run["decision"], known, _titles(run["rounds"])) if run["decision"] else None,
        "rounds": [_round(round_, run["rounds"], names) for round_ in run["rounds"]],
        "claims": [claim_row(claim) for claim in run["claims"]],
    }


def _round(round_: Json, rounds: list[Json], names: dict[str, str]) -> Json:
    turns = [turn for turn in round_["turns"] if turn["result"] and turn["seat"]]
    failed = [turn for turn in round_["turns"] if turn["status"] == "failed" and turn["seat"]]
    return {
        "title": f"Round {round_['round']}: {wording.STAGE.get(round_['stage'], round_['stage'])}",
        "said": [_said(turn, names) for turn in turns],
        "gate": next((_gate(turn) for turn in round_["turns"] if turn["kind"] == "gate"), ""),
        "failed": [f"{names[turn['seat']]}: {wording.reason(turn['error'])}" for turn in failed],
        "count": count(round_, rounds, names) if countable(round_) else None,
    }


def _said(turn: Json, names: dict[str, str]) -> Json:
    result = turn["result"]
    answer = result.get("answer", {})
    text = (answer or result.get("synthesis") or {}).get("answer") or spoken(result)
    return {
        "name": names[turn["seat"]],
        "kind": "" if turn["kind"] == "answer" else wording.CONTRIBUTION.get(turn["kind"], turn["kind"]),
        "option": answer.get("option"),
        "confidence": wording.percent(answer.get("confidence")),
        "because": answer.get("changed_because"),
        "would_change": answer.get("would_change"),
        "asked": result.get("reply", {}).get("question"),
        "carried": bool(turn.get("copied_from")),
        "text": text,
        "sources": cited(text, result.get("citations", []), turn["evidence"]),
        "searches": [searched(one) for one in result.get("searches", [])],
    }


def _gate(turn: Json) -> str:
    """What a person decided at the gate, and when."""
    answer = (turn["result"] or {}).get("gate")
    if answer is None:
        return wording.reason(turn["error"]) if turn["error"] else "Nobody has answered yet."
    note = f": {answer['note']}" if answer["note"] else "."
    return f"{wording.GATE[answer['decision']]} ({wording.minute(turn['finished_at'])}){note}"


def searched(search: Json) -> str:
    """One search of a seat's own, and by their numbers the passages that it found."""
    found = " ".join(f"[{one['n']}]" for one in search["found"]) or "nothing"
    return f"“{search['query']}” (at most {search['k']}{', in one pack' if search['pack'] else ''}): {found}"


def _titles(rounds: list[Json]) -> dict[str, str]:
    """Of the entries that seats were shown, by revision."""
    return {
        item["revision"]: item["title"] for round_ in rounds for turn in round_["turns"] for item in turn["evidence"]
    }


def _titled(checks: list[Json], titles: dict[str, str]) -> list[Json]:
    return [{"n": check["n"], "title": titles.get(check["revision"], "")} for check in checks]


def _decision(stored: Json, known: dict[str, str], titles: dict[str, str]) -> Json:
    return {
        "heading": wording.OUTCOME[stored["outcome"]],
        "option": stored["option"],
        "text": stored["answer"],
        "written": wording.SOURCE[stored["source"]],
        "notes": stored["notes"],
        "too_close": stored["too_close"],
        "facts": facts(stored),
        "sources": [_full_source(check) for check in stored["citations"]],
        "dissent": [
            {**one, "sources": cited(one["text"], one["citations"], _titled(one["citations"], titles))}
            for one in stored["dissent"]
        ],
        "flips": [flip(one, known) for one in stored["flips"]],
        "exchange": [_asked(one) for one in stored["exchange"]],
        "missing": [missing(one) for one in stored["missing"]],
        **rules(stored, known),
    }


def _asked(one: Json) -> str:
    whom = one["to"] or "a seat that is not there"
    return f"{one['from']} to {whom}: {one['question']} – {one['reply'] or 'No reply.'}"


def _full_source(check: Json) -> Json:
    """With what is needed to find the very words again: the revision, the place in it, the snapshot and the quote's hash."""
    place = f"revision {check['revision']}, characters {check['start']} to {check['end']}" if check["revision"] else ""
    pinned = f", snapshot {check['snapshot']['label']}" if check["snapshot"] else ""
    return {**source(check, check["title"]), "place": place + pinned, "hash": check["quote_hash"]}


def claim_row(claim: Json) -> Json:
    return {
        "id": claim["id"].upper(),
        "text": claim["text"],
        "by": "; ".join(_asserting(one) for one in claim["asserted_by"]),
        "disputed": "; ".join(
            f"{one['name']} {_WHY[one['why']]} ({one['claim'].upper()})" for one in claim["disputed_by"]
        ),
        "opposed": ", ".join(one["name"] for one in claim["opposed_by"]),
    }


def evidence_of(claim: Json) -> list[Json]:
    """The passages behind a claim, for the page; ``scope`` keeps the numbers of several seats apart."""
    return [
        {**source(check, check["title"]), "scope": f"{claim['id']}-{one['seat']}"}
        for one in claim["asserted_by"]
        for check in one["evidence"]
    ]


def _asserting(one: Json) -> str:
    checks = ", ".join(f"[{check['n']}] {wording.CITATION[check['status']]}" for check in one["evidence"])
    when, what = "" if one["current"] else ", at first", f" on {checks}" if checks else ", without evidence"
    return f"{one['name']}{when}{what}"
