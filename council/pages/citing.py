"""Marks in texts and the sources behind them. ``static/js/citing.js`` does the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from council.pages import wording

Json = dict[str, Any]

MARK = re.compile(r"\[(\d{1,3})\]")
ORDER = ("verified", "unsupported", "missing")


def statuses(checks: Iterable[Json]) -> dict[int, str]:
    """The best status of each number: one text may cite a source well in one place and badly in another."""
    found: dict[int, str] = {}
    for check in checks:
        known = found.get(check["n"], ORDER[-1])
        found[check["n"]] = min(known, check["status"], key=ORDER.index)
    return found


def parts(text: str, known: dict[int, str]) -> list[Json]:
    """The text cut at its ``[n]`` marks: ``{text}`` or ``{n, status}``."""
    pieces: list[Json] = []
    last = 0
    for found in MARK.finditer(text):
        pieces.append({"text": text[last : found.start()]})
        pieces.append({"n": int(found[1]), "status": known.get(int(found[1]), "unchecked")})
        last = found.end()
    return [piece for piece in [*pieces, {"text": text[last:]}] if piece.get("text") != ""]


def cited(text: str, checks: list[Json], evidence: list[Json]) -> list[Json]:
    """What a turn's text cites, one for each number: as checked, or (not checked yet) as its writer was shown it."""
    best, shown = statuses(checks), {item["n"]: item for item in evidence}
    numbers = list(dict.fromkeys(int(found[1]) for found in MARK.finditer(text)))
    sources = []
    for n in numbers:
        check = next((one for one in checks if one["n"] == n and one["status"] == best[n]), None)
        item = shown.get(n, {})
        sources.append(source({**item, "quote": item.get("text", ""), "n": n, **(check or {})}, item.get("title")))
    return sources


def source(citation: Json, title: str | None) -> Json:
    """One citation as the page shows it."""
    status = citation.get("status", "unchecked")
    return {
        "n": citation["n"],
        "status": status,
        "word": wording.CITATION.get(status, "not checked yet"),
        "title": title or "",
        "quote": citation.get("quote", ""),
        "reason": citation.get("reason", ""),
        "link": link(citation),
    }


def link(citation: Json) -> str:
    """The page of the entry at the revision that was read, with the quoted span marked."""
    entry, revision = citation.get("entry"), citation.get("revision")
    if not entry or not revision:
        return ""
    return f"/entries/{entry}?revision={revision}&start={citation['start']}&end={citation['end']}#quote"
