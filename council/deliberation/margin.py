"""How close a decision was: the fewest ballots whose replacement changes the winner.

The search is by trial. It removes one ballot, then two, puts every alternative in their place and decides anew; the
count is additive, so a trial costs one vector sum and one decision. Ballots that say the same are tried once. Before anything
is put in its place, what remains is asked whether anybody else could win at all (``rules.reachable``); mostly nobody could.

Only what the rule reads is replaced: rankings, scores or positions; the rest of a ballot stays as it is.

- Rankings: the linear orders of what the voter was shown, all of them up to ``EXHAUSTIVE`` candidates. Beyond, m! is out of reach
  and the alternatives are those that are strong for some rival: the rival first, the winner last or in its place, the others in
  order of their standing or against it, and the ballots that others cast.
- Scores: 10 for one candidate and 0 for the others. No rule that reads scores has a stronger vote for a rival. Where a candidate
  was withheld from the voter, every way of giving 10 and 0, up to ``EXHAUSTIVE`` candidates.
- Positions: every candidate.

A change that is found is real; where not everything is tried, a reported margin is an upper bound of the true one and "none
found" is not a proof.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, permutations, product
from operator import add, sub
from typing import NamedTuple

from council.deliberation.grades import HIGHEST
from council.deliberation.rules import Vector, total

EXHAUSTIVE = 5  # candidates up to which every linear order is tried; 5! = 120 orders, 7,260 pairs of them

Decide = Callable[[Vector], int | None]


class Alternatives(NamedTuple):
    """What a voter could have contributed instead. ``strong`` usually settles the search and is tried first; ``others`` makes it
    complete."""

    strong: tuple[Vector, ...]
    others: tuple[Vector, ...] = ()


Unit = tuple[Vector, Alternatives]


def search(
    units: Sequence[Unit],
    decide: Decide,
    length: int,
    hopeful: Callable[[Vector, int], bool] = lambda *_: True,
    limit: int = 2,
) -> int | None:
    """The smallest number up to ``limit`` of units whose replacement changes ``decide(sum of units)``, else None.

    A unit is what one voter contributes and what it could have contributed instead; every vector has ``length`` entries.
    ``hopeful(rest, size)`` is False only when adding ``size`` contributions of any kind to ``rest`` cannot change the winner.
    """
    count = total((vector for vector, _ in units), length)
    winner = decide(count)
    kinds = Counter(units)
    for size in range(1, limit + 1):
        rests = [(rest, choices) for rest, choices in _removals(count, kinds, size) if hopeful(rest, size)]
        if any(decide(trial) != winner for trial in _trials(rests)):
            return size
    return None


def _removals(count: Vector, kinds: Mapping[Unit, int], size: int) -> Iterator[tuple[Vector, tuple[Alternatives, ...]]]:
    """What is left without ``size`` units, in every way that differs, and what can take their places."""
    for removed in combinations_with_replacement(kinds, size):
        if any(removed.count(kind) > kinds[kind] for kind in removed):
            continue
        rest = count
        for vector, _ in removed:
            rest = tuple(map(sub, rest, vector))
        yield rest, tuple(alternatives for _, alternatives in removed)


def _trials(rests: Sequence[tuple[Vector, tuple[Alternatives, ...]]]) -> Iterator[Vector]:
    """Every count that the replacement can give (replacing a unit by itself included, which changes nothing)."""
    for whole in (False, True):
        gains: dict[tuple[Alternatives, ...], list[Vector]] = {}
        for rest, choices in rests:
            if choices not in gains:
                gains[choices] = _gains([c.strong + c.others if whole else c.strong for c in choices])
            for gain in gains[choices]:
                yield tuple(map(add, rest, gain))
        if not any(alternatives.others for _, choices in rests for alternatives in choices):
            return


def _gains(choices: Sequence[tuple[Vector, ...]]) -> list[Vector]:
    """The distinct sums of one alternative from each choice."""
    if len(choices) == 2 and choices[0] == choices[1]:
        picks: Iterator[tuple[Vector, ...]] = iter(combinations_with_replacement(choices[0], 2))
    else:
        picks = product(*choices)
    return list(dict.fromkeys(tuple(map(sum, zip(*pick, strict=True))) for pick in picks))


Order = tuple[int, ...]


def orders(
    shown: Sequence[int], standing: Sequence[int], cast: Sequence[Order]
) -> tuple[tuple[Order, ...], tuple[Order, ...]]:
    """Rankings to try in place of a ballot over ``shown``: strong ones, and others. ``standing`` is all candidates, the winner
    first; ``cast`` the rankings of the other ballots."""
    strong = dict.fromkeys(_strong(shown, standing))
    if len(shown) <= EXHAUSTIVE:
        return tuple(strong), tuple(order for order in permutations(shown) if order not in strong)
    feasible = (ranking for ranking in cast if ranking and set(ranking) <= set(shown))
    return tuple(strong | dict.fromkeys(feasible)), ()


def scores(shown: Sequence[int], m: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Scores to try in place of a ballot's, as (candidate, score)."""
    if len(shown) == m or len(shown) > EXHAUSTIVE:
        return tuple(tuple((c, HIGHEST * (c == best)) for c in shown) for best in shown)
    return tuple(tuple(zip(shown, row, strict=True)) for row in product((HIGHEST, 0), repeat=len(shown)))


def _strong(shown: Sequence[int], standing: Sequence[int]) -> Iterator[tuple[int, ...]]:
    ranked = [candidate for candidate in standing if candidate in shown]
    for rival in ranked:
        others = [candidate for candidate in ranked if candidate != rival]
        yield (rival, *others[1:], *others[:1])
        yield (rival, *reversed(others))
        yield (rival, *others)
