"""Rules that read scores: score (range voting), median (majority judgement) and approval.

What a ballot's scores say:
- A candidate that it was shown and did not score has 0, when it scores somebody: left out is lowest, as in a ranking. A ballot
  without any score says nothing to ``score`` and ``median``.
- It *approves* what it scores ``APPROVED`` or higher; a ballot without any score approves its first choice alone.
- A candidate that was withheld from the voter gets what the ballot gives on average (score, approval) or in the middle
  (median) to those it was shown. So nobody can lift its own text by scoring all others down.

A count is additive like that of ``rules``; its layout for m candidates, length ``1 + 24m``:

    [0]             ballots that score somebody
    sums[m]         scores times ``unit(m)``
    approvals[m]    approvals times ``unit(m)``
    grades[m][11]   how many ballots grade c with 0 .. 10
    given[m][11]    the same without what was filled in: the median that breaks ties
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import lcm
from statistics import median
from typing import NamedTuple

from council.deliberation.rules import Vector, top

APPROVED = 6
HIGHEST = 10
GRADES = HIGHEST + 1


class Marks(NamedTuple):
    """A ballot's scores in candidate indices: ``scores`` as (candidate, score), ``approved`` and ``shown`` ascending."""

    scores: tuple[tuple[int, int], ...]
    approved: tuple[int, ...]
    shown: tuple[int, ...]


def marks(scores: Sequence[tuple[int, int]], ranking: Sequence[int], shown: tuple[int, ...]) -> Marks:
    approved = [c for c, score in scores if score >= APPROVED] if scores else ranking[:1]
    return Marks(tuple(sorted(scores)), tuple(sorted(approved)), shown)


def count_length(m: int) -> int:
    return 1 + (2 + 2 * GRADES) * m


def unit(m: int) -> int:
    """The factor that makes every average over fewer than m candidates an integer."""
    return lcm(*range(1, m)) if m > 1 else 1


@lru_cache(maxsize=4096)
def contribution(ballot: Marks, m: int) -> Vector:
    if not ballot.shown:
        return (0,) * count_length(m)
    filled = dict.fromkeys(ballot.shown, 0) | dict(ballot.scores) if ballot.scores else {}
    sums = _filled(filled, m) if filled else [0] * m
    approvals = _filled({c: int(c in ballot.approved) for c in ballot.shown}, m)
    middle = sorted(filled.values())[(len(filled) - 1) // 2] if filled else 0
    graded = {c: filled.get(c, middle) for c in range(m)} if filled else {}
    return (int(bool(filled)), *sums, *approvals, *_histogram(graded, m), *_histogram(dict(ballot.scores), m))


def _filled(values: dict[int, int], m: int) -> list[int]:
    share = unit(m) // len(values) if len(values) < m else 0
    mean = sum(values.values()) * share
    return [values[c] * unit(m) if c in values else mean for c in range(m)]


def _histogram(graded: dict[int, int], m: int) -> list[int]:
    bins = [0] * (m * GRADES)
    for c, grade in graded.items():
        bins[c * GRADES + grade] = 1
    return bins


# --- figures of a count -----------------------------------------------------------------------------------------------


def sums(count: Vector, m: int) -> Vector:
    return count[1 : 1 + m]


def approvals(count: Vector, m: int) -> Vector:
    return count[1 + m : 1 + 2 * m]


def _graded(count: Vector, m: int, c: int, start: int) -> list[int]:
    """The grades of candidate c in ascending order."""
    at = 1 + 2 * m + start + c * GRADES
    return [grade for grade, n in enumerate(count[at : at + GRADES]) for _ in range(n)]


def majority_values(count: Vector, m: int) -> list[tuple[int, ...]]:
    """For each candidate its median grade (the lower one of two), then the median of what is left without it, and so on: higher
    is better in lexicographic order. Balinski and Laraki, "A theory of measuring, electing, and ranking", PNAS 104 (2007)."""
    order = _middle_out(count[0])
    found = [_graded(count, m, c, 0) for c in range(m)]
    return [tuple(grades[i] for i in order) for grades in found]


@lru_cache(maxsize=64)
def _middle_out(n: int) -> tuple[int, ...]:
    """In which order repeated lower medians take n sorted grades away."""
    left = list(range(n))
    return tuple(left.pop((len(left) - 1) // 2) for _ in range(n))


def given_medians(count: Vector, m: int) -> list[float]:
    """The median of the scores that a candidate was given, -1 where nobody gave one: the tie-break of every rule."""
    found = (_graded(count, m, c, m * GRADES) for c in range(m))
    return [float(median(grades)) if grades else -1.0 for grades in found]


# --- winners ----------------------------------------------------------------------------------------------------------


def score_winners(count: Vector, m: int) -> list[int]:
    """The highest sum of scores; all tie when nobody scored anybody."""
    return top(sums(count, m), range(m))


def median_winners(count: Vector, m: int) -> list[int]:
    values = majority_values(count, m)
    best = max(values, default=())
    return [c for c in range(m) if values[c] == best]


def approval_winners(count: Vector, m: int) -> list[int]:
    return top(approvals(count, m), range(m))
