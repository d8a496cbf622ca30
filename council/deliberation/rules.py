"""Decision rules as functions of a *count*: a vector of integers that is the sum of what each ballot contributes.

Every rule here is computed from additive totals, so a count can be updated by subtracting one ballot and adding another;
``margin`` lives on that. All arithmetic is in integers: two candidates tie exactly or not at all, on every machine.

Layout of a count for m candidates, length ``1 + 2m + m²``:

    [0]            ballots that name somebody
    firsts[m]      first choices
    borda[m]       Borda points times ``scale(m)``
    pairs[m][m]    pairs[a][b] = ballots that rank a above b

What a ballot says:
- A candidate that it leaves out is ranked below all that it names, and level with the others left out.
- A candidate that was withheld from the voter (its own text, see ``ballots``) is *missing data*: the ballot compares it
  with nothing. It gets the average Borda points, no pairwise vote either way, and cannot be anybody's first choice.
- A voter who was shown one candidate of several had no choice, so naming it is no vote for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import lcm
from typing import NamedTuple

from council.deliberation import rankedpairs
from council.deliberation.types import Rule

Vector = tuple[int, ...]


class Preference(NamedTuple):
    """A ballot in candidate indices: ``ranking`` best first, ``shown`` what the voter could have named (ascending)."""

    ranking: tuple[int, ...]
    shown: tuple[int, ...]


def scale(m: int) -> int:
    """The factor that makes every Borda point of an m-candidate ballot an integer, however few the voter was shown."""
    return 2 * lcm(*range(1, m)) if m > 1 else 1


def total(vectors: Iterable[Vector], length: int) -> Vector:
    """Sum of vectors of one length; zeros when there are none."""
    return tuple(map(sum, zip(*vectors, (0,) * length, strict=True)))


def count_length(m: int) -> int:
    return 1 + 2 * m + m * m


@lru_cache(maxsize=4096)
def contribution(preference: Preference, m: int) -> Vector:
    """What one ballot adds to the count of m candidates. An abstention (nothing named) adds nothing at all."""
    if not preference.ranking:
        return (0,) * count_length(m)
    firsts = [0] * m
    if len(preference.shown) > 1 or m == 1:
        firsts[preference.ranking[0]] = 1
    return (1, *firsts, *_borda_points(preference, m), *_pairs(preference, m))


def _borda_points(preference: Preference, m: int) -> list[int]:
    """Points m-1 … 0 over the shown candidates, stretched to the full range so that a short ballot weighs like a long one;
    those left out share the mean of the ranks that remain, those withheld get the mean of all ranks."""
    common = lcm(*range(1, m)) if m > 1 else 0
    points = [(m - 1) * common] * m
    shown, named = len(preference.shown), len(preference.ranking)
    if shown < 2:
        return points
    half = common // (shown - 1) * (m - 1)
    for candidate in preference.shown:
        points[candidate] = (shown - 1 - named) * half
    for rank, candidate in enumerate(preference.ranking):
        points[candidate] = 2 * (shown - 1 - rank) * half
    return points


def _pairs(preference: Preference, m: int) -> list[int]:
    pairs = [0] * (m * m)
    below = set(preference.shown)
    for candidate in preference.ranking:
        below.discard(candidate)
        for other in below:
            pairs[candidate * m + other] = 1
    return pairs


# --- scores -----------------------------------------------------------------------------------------------------------


def firsts(count: Vector, m: int) -> Vector:
    return count[1 : 1 + m]


def borda(count: Vector, m: int) -> Vector:
    """Borda points times ``scale(m)``. Of the treatments of short ballots that Terzopoulou and Endriss compare ("The Borda
    class", Journal of Mathematical Economics 92, 2021) this is averaged Borda: what a ballot hands out in all does not
    depend on its length, so that naming only one's favourite gains nothing."""
    return count[1 + m : 1 + 2 * m]


def path_strengths(count: Vector, m: int) -> list[list[int]]:
    """Strongest beatpaths, by winning votes: Schulze, "A new monotonic, clone-independent, reversal symmetric, and
    Condorcet-consistent single-winner election method", Social Choice and Welfare 36 (2011), section 2."""
    pairs = count[1 + 2 * m :]
    return _widest([[_link(pairs, a, b, m) for b in range(m)] for a in range(m)])


def _widest(strength: list[list[int]]) -> list[list[int]]:
    """Strengths of the strongest paths, from those of the single links (Floyd and Warshall)."""
    m = len(strength)
    for via in range(m):
        row = strength[via]
        for a in range(m):
            reach = strength[a][via]
            if reach and a != via:
                strength[a] = [max(old, min(reach, new)) for old, new in zip(strength[a], row, strict=True)]
    return strength


def _link(pairs: Vector, a: int, b: int, m: int) -> int:
    votes = pairs[a * m + b]
    return votes if votes > pairs[b * m + a] else 0


def path_wins(count: Vector, m: int) -> list[int]:
    """For each candidate, the number of rivals that it beats by beatpath."""
    strength = path_strengths(count, m)
    return [sum(strength[a][b] > strength[b][a] for b in range(m)) for a in range(m)]


# --- winners ----------------------------------------------------------------------------------------------------------


def top(scores: Sequence[float], among: Iterable[int]) -> list[int]:
    """Those of ``among`` with the highest score, in index order."""
    pool = list(among)
    best = max((scores[c] for c in pool), default=0)
    return [c for c in pool if scores[c] == best]


def plurality_winners(count: Vector, m: int) -> list[int]:
    return top(firsts(count, m), range(m)) if count[0] else []


def borda_winners(count: Vector, m: int) -> list[int]:
    return top(borda(count, m), range(m)) if count[0] else []


def schulze_winners(count: Vector, m: int) -> list[int]:
    """Candidates that no rival beats by beatpath; never empty once somebody has voted."""
    if not count[0]:
        return []
    condorcet = _condorcet_winner(count, m)
    if condorcet is not None:
        return [condorcet]
    strength = path_strengths(count, m)
    return [a for a in range(m) if all(strength[a][b] >= strength[b][a] for b in range(m))]


def _condorcet_winner(count: Vector, m: int) -> int | None:
    """Beats every rival directly, so no path needs to be searched: most profiles, and most of the margin's time."""
    start = 1 + 2 * m
    for a in range(m):
        row = start + a * m
        if all(a == b or count[row + b] > count[start + b * m + a] for b in range(m)):
            return a
    return None


def ranked_pairs_winners(count: Vector, m: int) -> list[int]:
    if not count[0]:
        return []
    condorcet = _condorcet_winner(count, m)
    if condorcet is not None:
        return [condorcet]
    finals = rankedpairs.final_orders(count[1 + 2 * m : 1 + 2 * m + m * m], m)
    return sorted({c for final in finals for c in rankedpairs.unbeaten(final)})


def locked_below(count: Vector, m: int) -> list[int]:
    """For each candidate, how many rivals ranked pairs places below it, in the order of equal majorities that suits it best."""
    finals = rankedpairs.final_orders(count[1 + 2 * m : 1 + 2 * m + m * m], m)
    return [max(final[c].bit_count() for final in finals) for c in range(m)]


def majority_winners(holders: Sequence[int]) -> list[int]:
    """The candidate that more than half of the seats with a position hold, or nobody. ``holders[c]``: seats that hold c."""
    return [c for c, n in enumerate(holders) if 2 * n > sum(holders)]


def two_thirds_winners(holders: Sequence[int]) -> list[int]:
    """The candidate that at least two thirds of the seats with a position hold, or nobody."""
    return [c for c, n in enumerate(holders) if n and 3 * n >= 2 * sum(holders)]


def unanimity_winners(holders: Sequence[int]) -> list[int]:
    """The candidate that every seat with a position holds, or nobody."""
    return [c for c, n in enumerate(holders) if n and n == sum(holders)]


def weighted_winners(holders: Sequence[int], weights: Sequence[int]) -> list[int]:
    """The highest sum of stated confidences; nobody when no seat has a position."""
    return top(weights, (c for c, n in enumerate(holders) if n))


RANKING_RULES: dict[Rule, Callable[[Vector, int], list[int]]] = {
    Rule.PLURALITY: plurality_winners,
    Rule.BORDA: borda_winners,
    Rule.SCHULZE: schulze_winners,
    Rule.RANKED_PAIRS: ranked_pairs_winners,
}
POSITION_RULES: dict[Rule, Callable[[Sequence[int]], list[int]]] = {
    Rule.MAJORITY: majority_winners,
    Rule.TWO_THIRDS: two_thirds_winners,
    Rule.UNANIMITY: unanimity_winners,
}


# --- who could win ----------------------------------------------------------------------------------------------------


def reachable(rule: Rule, rest: Vector, m: int, wild: int) -> set[int]:
    """Candidates that could win by a rule of ``RANKING_RULES`` when ``wild`` more ballots are cast; those outside cannot,
    whatever the ballots say. It is what spares ``margin`` most of its trials.

    Under plurality a ballot adds one vote, under Borda at most the points of a first and at least those of a last place.
    A winner by Schulze beats every rival by beatpath, or draws; a winner by ranked pairs has, against every majority that speaks
    against it, a path of majorities at least as strong (Tideman's immunity). Paths lie between what ``rest`` guarantees and
    what it allows.
    """
    if rule in {Rule.PLURALITY, Rule.BORDA}:
        scores = firsts(rest, m) if rule is Rule.PLURALITY else borda(rest, m)
        gain = wild * (1 if rule is Rule.PLURALITY else (m - 1) * scale(m))
        return {c for c in range(m) if scores[c] + gain >= max(scores)}
    pairs = rest[1 + 2 * m : 1 + 2 * m + m * m]
    sure = [[_sure(pairs, a, b, m, wild) for b in range(m)] for a in range(m)]
    against = _widest(sure) if rule is Rule.SCHULZE else sure
    hope = _widest([[_hoped(pairs, a, b, m, wild) for b in range(m)] for a in range(m)])
    return {c for c in range(m) if all(hope[c][x] >= against[x][c] for x in range(m) if x != c)}


def _sure(pairs: Vector, a: int, b: int, m: int, wild: int) -> int:
    votes = pairs[a * m + b]
    return votes if votes > pairs[b * m + a] + wild else 0


def _hoped(pairs: Vector, a: int, b: int, m: int, wild: int) -> int:
    votes = pairs[a * m + b] + wild
    return votes if votes > pairs[b * m + a] else 0
