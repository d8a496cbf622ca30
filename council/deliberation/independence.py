"""How many independent votes a set of seats is worth, estimated over many sessions.

Nine voters who always say the same are one voter. With a mean pairwise correlation ρ of their answers (or errors) N voters carry

    n_eff = N / (1 + (N - 1) ρ)

votes: the design effect of Kish (Survey Sampling, 1965, section 8.2).

What ρ is computed from: where the truth is known, from errors (the phi coefficient of two seats being wrong); where it is not,
which is the rule for a council's questions, from answers, as agreement beyond chance over the m options of a closed question,
``(agreement - 1/m) / (1 - 1/m)`` (Bennett, Alpert and Goldstein, Public Opinion Quarterly 18, 1954). Seats also agree because both
are right, so the second is an upper bound of the correlation of errors, and its n_eff a lower bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import sqrt
from statistics import fmean
from typing import NamedTuple

LEAST = 30  # sessions; an estimate from fewer says nothing

Pair = tuple[str, str]


class Opening(NamedTuple):
    """One past session: the kind (model) of each seat and the option that it held at the blind opening, of ``options``."""

    seats: Sequence[tuple[str, str]]
    options: int


class Estimate(NamedTuple):
    """``rho`` and ``n_eff`` are None while a pair of kinds has met in fewer than ``LEAST`` sessions; ``sessions`` is the fewest."""

    seats: int
    sessions: int
    rho: float | None
    n_eff: float | None


def effective_votes(n: int, rho: float) -> float:
    """``rho`` below 0 counts as 0: a few contrarian seats are no more than all of them."""
    return n / (1 + (n - 1) * min(1.0, max(0.0, rho)))


def estimate(kinds: Sequence[str], openings: Iterable[Opening]) -> Estimate:
    """For a council whose voters are of ``kinds``, from past openings in which seats of two of its kinds met."""
    wanted = [_pair(a, b) for a, b in combinations(kinds, 2)]
    met: dict[Pair, list[float]] = {pair: [] for pair in wanted}
    for opening in openings:
        for pair, share in agreement_beyond_chance(opening).items():
            if pair in met:
                met[pair].append(share)
    sessions = min((len(found) for found in met.values()), default=0)
    if sessions < LEAST:
        return Estimate(len(kinds), sessions, None, None)
    rho = fmean(fmean(met[pair]) for pair in wanted)
    return Estimate(len(kinds), sessions, rho, effective_votes(len(kinds), rho))


def _pair(a: str, b: str) -> Pair:
    return (a, b) if a <= b else (b, a)


def agreement_beyond_chance(opening: Opening) -> dict[Pair, float]:
    """By pair of kinds, the mean over its pairs of seats: 1 when they agree, below 0 when they agree less than by chance."""
    chance = 1 / opening.options
    found: dict[Pair, list[float]] = {}
    for (kind, held), (other, holds) in combinations(opening.seats, 2):
        found.setdefault(_pair(kind, other), []).append((float(held == holds) - chance) / (1 - chance))
    return {pair: fmean(values) for pair, values in found.items()}


def error_correlation(wrong: Mapping[str, Sequence[bool]]) -> float | None:
    """The mean phi coefficient of the errors of two seats, where the truth is known: ``wrong[seat][question]``. Pairs of which one is
    always or never wrong say nothing; None when no other is left."""
    found = [phi for a, b in combinations(sorted(wrong), 2) if (phi := _phi(wrong[a], wrong[b])) is not None]
    return fmean(found) if found else None


def _phi(a: Sequence[bool], b: Sequence[bool]) -> float | None:
    p, q = fmean(a), fmean(b)
    both = fmean(x and y for x, y in zip(a, b, strict=True))
    spread = sqrt(p * (1 - p) * q * (1 - q))
    return (both - p * q) / spread if spread else None
