"""A decision as the page shows it. ``static/js/deciding.js`` does the same."""

from __future__ import annotations

from typing import Any

from council.pages import wording
from council.pages.citing import parts, source, statuses

Json = dict[str, Any]


def decision(stored: Json, names: dict[str, str]) -> Json:
    """``names``: the candidates' labels, empty when they are not known (earlier runs)."""
    checks = stored["citations"]
    return {
        "outcome": stored["outcome"],
        "heading": wording.OUTCOME[stored["outcome"]],
        "option": stored["option"],
        "parts": parts(stored["answer"], statuses(checks)),
        "written": wording.SOURCE[stored["source"]],
        "notes": stored["notes"],
        "too_close": stored["too_close"],
        "facts": facts(stored),
        "citations": [source(check, check["title"]) for check in checks],
        "dissent": [dissent(one) for one in stored["dissent"]],
        "flips": [flip(one, names) for one in stored["flips"]],
        "missing": [missing(one) for one in stored["missing"]],
        **rules(stored, names),
    }


def facts(stored: Json) -> list[Json]:
    """What stands under the answer, as pairs of term and value."""
    agreement = stored["agreement"]
    before, after = wording.percent(agreement.get("opening")), wording.percent(agreement.get("final"))
    pairs = [
        ("Agreement", f"{before} at the opening, {after} at the end" if before and after else after or before),
        ("Confidence of its supporters", wording.percent(stored["confidence"])),
        ("Decided by", wording.DECIDED_BY.get(stored["decided_by"], stored["decided_by"])),
        ("Margin", wording.margin(stored)),
    ]
    return [{"term": term, "value": value} for term, value in pairs if value]


def rules(stored: Json, names: dict[str, str]) -> Json:
    """The table of all rules: a row each, with a score for every candidate."""
    found = stored["rules"] if names else {}
    ids = sorted({one for result in found.values() for one in result["scores"]}, key=place)
    return {
        "candidates": [names.get(one, one.upper()) for one in ids],
        "rules": [
            {
                "name": wording.RULE.get(name, name),
                "winner": " / ".join(names.get(one, one.upper()) for one in result["winners"]) or "nobody",
                "scores": [wording.figure(result["scores"][one]) if one in result["scores"] else "" for one in ids],
            }
            for name, result in sorted(found.items())
        ],
    }


def place(candidate: str) -> int:
    return int(candidate[1:])


def dissent(one: Json) -> Json:
    checks = one["citations"]
    return {
        "name": one["name"],
        "option": one["option"],
        "parts": parts(one["text"], statuses(checks)),
        "written": one["written"],
    }


def flip(one: Json, names: dict[str, str]) -> str:
    before, after = names.get(one["before"], one["before"].upper()), names.get(one["after"], one["after"].upper())
    return f"{one['name']} went from {before or 'no position'} to {after or 'no position'}: {one['because'] or 'no reason given'}"


def missing(one: Json) -> str:
    return f"{one['name']} ({wording.STAGE[one['stage']].lower()}): {wording.reason(one['error'])}"
