"""A share and how sure it is. Standard library only."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple


class Share(NamedTuple):
    """``right`` of all trials, with the bounds of its interval."""

    right: float
    low: float
    high: float


def wilson(successes: float, trials: int, level: float) -> Share:
    """Wilson's score interval, JASA 22 (1927); ``level`` 0.95 for 95 %.

    ``successes`` may be a sum of fractions, each the mean of several tries at one thing: such a sum varies less than one of
    zeros and ones, so that the interval is then too wide rather than too narrow.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return Share(share, middle - half, middle + half)
