"""How good answers are, how sure that is, and whether stated confidence can be believed. Pure: standard library only.

Scores are between 0 and 1: right or wrong, or the mean of several tries. The unit that is drawn is the question, never the try, for
tries at one question are not independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import comb
from random import Random
from statistics import fmean
from typing import NamedTuple

from council.deliberation.intervals import Share, wilson

LEVEL = 0.95
DRAWS = 2_000  # of the bootstrap
BINS = 10  # of the reliability table at most ...
BIN_LEAST = 10  # ... and at least so many answers in each
Stated = tuple[float, bool]  # a stated confidence, and whether the answer was right


def accuracy(scores: Mapping[str, float]) -> Share | None:
    """The mean score over questions with Wilson's 95 % interval; None of no question."""
    return wilson(sum(scores.values()), len(scores), LEVEL) if scores else None


class Difference(NamedTuple):
    """``b`` less ``a`` over the ``questions`` that both answered, with the bounds of its interval; ``p`` as in ``mcnemar``."""

    questions: int
    mean: float
    low: float
    high: float
    p: float | None


def difference(a: Mapping[str, float], b: Mapping[str, float], seed: int, draws: int = DRAWS) -> Difference | None:
    """The paired bootstrap: questions are drawn with replacement, both scores of each together; percentiles of the mean difference
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13). None without a common question."""
    both = sorted(a.keys() & b.keys())
    if not both:
        return None
    gains = [b[one] - a[one] for one in both]
    rng = Random(seed)  # noqa: S311  # a bootstrap, with a recorded seed
    means = sorted(fmean(rng.choices(gains, k=len(gains))) for _ in range(draws))
    return Difference(
        len(both), fmean(gains), _quantile(means, (1 - LEVEL) / 2), _quantile(means, (1 + LEVEL) / 2), None
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Between the two nearest, linearly (Hyndman and Fan's type 7)."""
    at = share * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def mcnemar(a: Mapping[str, bool], b: Mapping[str, bool]) -> float:
    """McNemar's test, exact and two-sided: how likely is a split at least as uneven of the questions that only one of two got right,
    if neither is better? 1 when there is none."""
    both = a.keys() & b.keys()
    only_a, only_b = sum(a[one] > b[one] for one in both), sum(b[one] > a[one] for one in both)
    n, less = only_a + only_b, min(only_a, only_b)
    return min(1.0, 2 * sum(comb(n, k) for k in range(less + 1)) / (1 << n))


# --- calibration ------------------------------------------------------------------------------------------------------


def brier(stated: Sequence[Stated]) -> float | None:
    """The mean squared distance of confidence from truth (Brier, 1950): 0 is perfect, 0.25 what always saying 0.5 gets."""
    return fmean((confidence - right) ** 2 for confidence, right in stated) if stated else None


class Bin(NamedTuple):
    n: int
    confidence: float  # mean of what was stated
    right: Share


def reliability(stated: Sequence[Stated], bins: int | None = None) -> list[Bin]:
    """Answers in order of their confidence, in bins of equal mass. Equal confidences are never parted, since any order among them
    would be ours; bins may therefore be fewer and uneven."""
    return [_bin(group) for group in _groups(sorted(stated), bins or _bins_for(len(stated)))]


def _bins_for(n: int) -> int:
    return max(1, min(BINS, n // BIN_LEAST))


def _groups(ordered: Sequence[Stated], bins: int) -> Iterator[Sequence[Stated]]:
    begun = 0
    for number in range(1, bins + 1):
        end = round(number * len(ordered) / bins)
        while 0 < end < len(ordered) and ordered[end][0] == ordered[end - 1][0]:
            end += 1
        if end > begun:
            yield ordered[begun:end]
            begun = end


def _bin(group: Sequence[Stated]) -> Bin:
    right = sum(right for _, right in group)
    return Bin(len(group), fmean(confidence for confidence, _ in group), wilson(right, len(group), LEVEL))


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error: how far confidence and share of right answers lie apart, the mean over answers (Naeini et al., AAAI
    2015; with bins of equal mass as in Nguyen and O'Connor, EMNLP 2015). 0 is perfect. Biased upwards when bins are small."""
    n = sum(one.n for one in bins)
    return sum(one.n * abs(one.confidence - one.right.right) for one in bins) / n if n else None
