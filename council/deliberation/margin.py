"""How close a decision was: the fewest ballots whose replacement changes the winner.

The search is by trial. It removes one ballot, then two, puts every alternative in their place and decides anew; the
count is additive, so a trial costs one vector sum and one decision. Ballots that say the same are tried once.

Alternatives of a ballot are the linear orders of what its voter was shown: all of them up to ``EXHAUSTIVE`` candidates.
Beyond, m! is out of reach and the alternatives are those that are strong for some rival: the rival first, the winner last or
in its place, the others in order of their standing or against it, and the ballots that others cast. A change that is
found is real, so a reported margin is then an upper bound of the true one and "none found" is not a proof.

Scores on ballots stay as they were; only rankings are replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, permutations, product
from operator import add, sub

from council.deliberation.rules import Vector, total

EXHAUSTIVE = 5  # candidates up to which every linear order is tried; 5! = 120 orders, 7,260 pairs of them

Decide = Callable[[Vector], int | None]
Alternatives = tuple[Vector, ...]


def search(
    units: Sequence[tuple[Vector, Alternatives]], decide: Decide, length: int, safe: int = 0, limit: int = 2
) -> int | None:
    """The smallest number up to ``limit`` of units whose replacement changes ``decide(sum of units)``, else None.

    A unit is what one voter contributes and what it could have contributed instead; every vector has ``length`` entries.
    Replacing ``safe`` units is known to change nothing (``rules.safe_replacements``) and is not tried.
    """
    count = total((vector for vector, _ in units), length)
    winner = decide(count)
    kinds = Counter(units)
    for size in range(safe + 1, limit + 1):
        if any(decide(trial) != winner for trial in _trials(count, kinds, size)):
            return size
    return None


def _trials(count: Vector, kinds: Mapping[tuple[Vector, Alternatives], int], size: int) -> Iterator[Vector]:
    """Every count that replacing exactly ``size`` units can give (replacing one by itself included, which changes nothing)."""
    gains: dict[tuple[Alternatives, ...], list[Vector]] = {}
    for removed in combinations_with_replacement(kinds, size):
        if any(removed.count(kind) > kinds[kind] for kind in removed):
            continue
        rest = count
        for vector, _ in removed:
            rest = tuple(map(sub, rest, vector))
        choices = tuple(alternatives for _, alternatives in removed)
        if choices not in gains:
            gains[choices] = _gains(choices)
        for gain in gains[choices]:
            yield tuple(map(add, rest, gain))


def _gains(choices: tuple[Alternatives, ...]) -> list[Vector]:
    """The distinct sums of one alternative from each choice; strong alternatives lead, for they come first in a choice."""
    if len(choices) == 2 and choices[0] == choices[1]:
        picks: Iterator[tuple[Vector, ...]] = iter(combinations_with_replacement(choices[0], 2))
    else:
        picks = product(*choices)
    return list(dict.fromkeys(tuple(map(sum, zip(*pick, strict=True))) for pick in picks))


def orders(
    shown: Sequence[int], standing: Sequence[int], cast: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], ...]:
    """Rankings to try in place of a ballot over ``shown``. ``standing`` is all candidates, the winner first; ``cast`` the
    rankings of the other ballots. Orders that favour a rival most come first, for they usually settle the search."""
    strong = list(_strong(shown, standing))
    if len(shown) <= EXHAUSTIVE:
        return tuple(dict.fromkeys([*strong, *permutations(shown)]))
    feasible = (ranking for ranking in cast if ranking and set(ranking) <= set(shown))
    return tuple(dict.fromkeys([*strong, *feasible]))


def _strong(shown: Sequence[int], standing: Sequence[int]) -> Iterator[tuple[int, ...]]:
    ranked = [candidate for candidate in standing if candidate in shown]
    for rival in ranked:
        others = [candidate for candidate in ranked if candidate != rival]
        yield (rival, *others[1:], *others[:1])
        yield (rival, *reversed(others))
        yield (rival, *others)
