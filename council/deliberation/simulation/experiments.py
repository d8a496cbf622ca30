"""Repeated elections: shares with intervals, and theory beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb, sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from council.deliberation.independence import effective_votes
from council.deliberation.intervals import Share, wilson
from council.deliberation.simulation.elections import by_ballots, by_positions
from council.deliberation.simulation.voters import Voters
from council.deliberation.types import Rule

SIZES = (3, 5, 7, 9)
COMPETENCES = (0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
CORRELATIONS = (0.0, 0.1, 0.3, 0.5, 0.8)
STRENGTHS = (0.0, 0.5, 1.0, 2.0)
CONFORMITIES = (0.0, 0.25, 0.5, 0.75)
TEN_MILLION = 10_000_019  # keeps the seeds of different rows apart


Arm = Callable[[int], bool]  # one trial by its seed: is the right answer chosen?


def jury_theorem(n: int, p: float) -> float:
    """Condorcet (1785): the chance that more than half of n independent voters, n odd, are right."""
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n // 2 + 1, n + 1))


class Jury(NamedTuple):
    n: int
    p: float
    simulated: Share
    theory: float


def jury(trials: int, seed: int) -> list[Jury]:
    """Every size and competence. The intervals hold together at 95 %: each is at 1 - 0.05 / rows (Bonferroni)."""
    rows = [(n, p) for n in SIZES for p in COMPETENCES]
    level = 1 - 0.05 / len(rows)
    return [
        Jury(
            n,
            p,
            _share(_majority(Voters(n, p)), trials, seed + at, level),
            jury_theorem(n, p),
        )
        for at, (n, p) in enumerate(rows)
    ]


def _majority(voters: Voters) -> Arm:
    return lambda seed: by_positions(voters, Rule.MAJORITY, seed)


def _share(trial: Arm, trials: int, seed: int, level: float = 0.95) -> Share:
    return wilson(sum(trial(s) for s in _seeds(trials, seed)), trials, level)


def _seeds(trials: int, seed: int) -> range:
    return range(seed * TEN_MILLION, seed * TEN_MILLION + trials)


class Correlated(NamedTuple):
    rho: float
    simulated: Share
    effective: float


def correlated(trials: int, seed: int, n: int = 9, p: float = 0.7) -> list[Correlated]:
    """What correlation takes from the majority, and the votes that it leaves."""
    return [
        Correlated(
            rho,
            _share(_majority(Voters(n, p, rho=rho)), trials, seed + at),
            effective_votes(n, rho),
        )
        for at, rho in enumerate(CORRELATIONS)
    ]


class Gain(NamedTuple):
    """The share of right decisions without and with what the product does, over the same seats; ``half`` is half the 95 %
    interval of the difference."""

    strength: float
    without: float
    with_: float
    half: float

    @property
    def gain(self) -> float:
        return self.with_ - self.without


def _gain(strength: float, without: Arm, with_: Arm, trials: int, seed: int) -> Gain:
    pairs = [(without(s), with_(s)) for s in _seeds(trials, seed)]
    differences = [int(b) - int(a) for a, b in pairs]
    half = 1.96 * stdev(differences) / sqrt(trials)
    return Gain(strength, fmean(a for a, _ in pairs), fmean(b for _, b in pairs), half)


def self_votes(
    trials: int, seed: int, strengths: Sequence[float] = STRENGTHS, n: int = 5, p: float = 0.65
) -> list[Gain]:
    """Open answers: the seat's own text on its ballot, or withheld."""

    def arm(s: float, *, withhold: bool) -> Arm:
        return lambda trial: by_ballots(Voters(n, p, s=s), [Rule.SCHULZE], trial, withhold_own=withhold)[0]

    return [
        _gain(s, arm(s, withhold=False), arm(s, withhold=True), trials, seed + at) for at, s in enumerate(strengths)
    ]


def reading_orders(
    trials: int, seed: int, strengths: Sequence[float] = STRENGTHS, n: int = 5, p: float = 0.65
) -> list[Gain]:
    """A closed question with five options: one order for all, or one for each."""

    def arm(b: float, *, own: bool) -> Arm:
        return lambda trial: by_ballots(Voters(n, p, b=b), [Rule.SCHULZE], trial, options=True, own_order=own)[0]

    return [_gain(b, arm(b, own=False), arm(b, own=True), trials, seed + at) for at, b in enumerate(strengths)]


def blind_openings(
    trials: int, seed: int, strengths: Sequence[float] = CONFORMITIES, n: int = 7, p: float = 0.65
) -> list[Gain]:
    """Two options by majority: each seat has seen the answers before it, or none."""

    def arm(c: float, *, blind: bool) -> Arm:
        return lambda trial: by_positions(Voters(n, p, c=c), Rule.MAJORITY, trial, blind=blind)

    return [_gain(c, arm(c, blind=False), arm(c, blind=True), trials, seed + at) for at, c in enumerate(strengths)]


class Ruled(NamedTuple):
    rule: Rule
    simulated: Share


def rules(trials: int, seed: int, n: int = 5, p: float = 0.65, among: Sequence[Rule] = tuple(Rule)) -> list[Ruled]:
    """Every rule over the same open answers and ballots. An election of nobody is not right."""
    found = [by_ballots(Voters(n, p), among, s) for s in _seeds(trials, seed)]
    return [
        Ruled(rule, wilson(sum(column), trials, 0.95))
        for rule, column in zip(among, zip(*found, strict=True), strict=True)
    ]
