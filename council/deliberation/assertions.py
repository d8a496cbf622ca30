"""Who asserts what: the claims of seats' answers, equal ones merged, set against each other.

Two claims are one when they are equal after ``ballots.normalise`` (marks taken out). One *contradicts* another when both say the
same in their content words and only one denies it, or when they give different figures for it. Words are compared, not meanings:
most disagreements are put in different words and are not found; what is found is worth reading.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, NamedTuple

from council.deliberation import citations
from council.deliberation.ballots import normalise

ALIKE = 0.8  # share of content words that two claims must have in common to be about the same
SHARED = 3  # content words, so that "it rose" and "it did not rise" of different things do not meet

Why = Literal["denies", "other_figures"]
_DENIALS = frozenset(
    [
        "not",
        "no",
        "never",
        "nobody",
        "none",
        "nothing",
        "neither",
        "nor",
        "without",
        "hardly",
        "cannot",
        "rarely",
        "seldom",
    ]
)


class Said(NamedTuple):
    """One claim as one seat made it in one answer. ``source`` is the caller's own reference to it."""

    seat: str
    round: int
    text: str
    source: int


@dataclass
class Assertion:
    """``id`` is "c1".. in order of appearance; ``contradicts``: ids of claims that say otherwise, and in what."""

    id: str
    text: str
    said: list[Said]
    contradicts: dict[str, Why] = field(default_factory=dict)


def merge(said: Sequence[Said]) -> list[Assertion]:
    """Claims in order of first appearance; the first wording is shown."""
    rows: dict[str, Assertion] = {}
    for one in said:
        text = citations.strip_marks(one.text)
        row = rows.setdefault(normalise(text), Assertion(f"c{len(rows) + 1}", text, []))
        row.said.append(one)
    for left, right in combinations(rows.values(), 2):
        if why := contradiction(left.text, right.text):
            left.contradicts[right.id] = right.contradicts[left.id] = why
    return list(rows.values())


def contradiction(left: str, right: str) -> Why | None:
    """In what two claims about the same thing contradict each other, None when they do not or are about different things."""
    one, other = _substance(left), _substance(right)
    shared = len(one & other)
    if shared < SHARED or shared < ALIKE * max(len(one), len(other)):
        return None
    if _denied(left) != _denied(right):
        return "denies"
    figures = citations.figures(left), citations.figures(right)
    return "other_figures" if all(figures) and figures[0] != figures[1] else None


def _words(text: str) -> tuple[str, ...]:
    return citations.words(re.sub(r"n['’]t\b", " not", text))


def _substance(text: str) -> set[str]:
    kept = " ".join(word for word in _words(text) if word not in _DENIALS and not word[0].isdigit())
    return set(citations.content_words(kept))


def _denied(text: str) -> bool:
    """An odd number of denials; two of them cancel out."""
    return sum(word in _DENIALS for word in _words(text)) % 2 == 1
