"""A passage of a text that was revised: where it stands now."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from council.deliberation.citations import Span

# Every character belongs to a unit: a full stop within a figure ("3.2") ends none, the end of the text does.
_UNIT = re.compile(r".(?:[.!?]++(?!\s|\Z)|[^.!?\n])*+(?:[.!?]+|\n|\Z)\s*", re.DOTALL)
UNITS_MAX = 4000  # of either text; comparing is quadratic at worst


def moved(before: str, after: str, start: int, end: int) -> Span | None:
    """The span of ``after`` that took the place of ``before[start:end]``; None when nothing did.

    Compared by sentences and lines: a sentence that was changed is a new one in its place, and what was inserted within the passage
    belongs to it. Spans are character offsets.
    """
    old, new = _units(before), _units(after)
    touched = [n for n, unit in enumerate(old) if unit.start < end and unit.end > start]
    if not touched or not new:
        return None
    if len(old) > UNITS_MAX or len(new) > UNITS_MAX:
        return _verbatim(before[start:end], after)
    low, high = _range(old, new, before, after, touched[0], touched[-1] + 1)
    if low >= high:
        return None
    found = Span(new[low].start, new[high - 1].end)
    return Span(found.start, found.start + len(found.of(after).rstrip()))


def _units(text: str) -> list[Span]:
    return [Span(*found.span()) for found in _UNIT.finditer(text) if found.group().strip()]


def _verbatim(passage: str, after: str) -> Span | None:
    at = after.find(passage)
    return Span(at, at + len(passage)) if at >= 0 else None


def _range(old: list[Span], new: list[Span], before: str, after: str, low: int, high: int) -> tuple[int, int]:
    """Units ``low`` to ``high`` of the old text as a range of the new one's; empty when they were deleted."""
    texts = [unit.of(before).strip() for unit in old], [unit.of(after).strip() for unit in new]
    found: list[int] = []
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, *texts, autojunk=False).get_opcodes():
        if kind == "equal":
            found += [j1 + i - i1 for i in range(max(i1, low), min(i2, high))]
        elif (i1 < high and i2 > low) or (kind == "insert" and low < i1 < high):
            found += range(j1, j2)
    return (min(found), max(found) + 1) if found else (0, 0)
