"""Every decision rule once more, straight from its definition and as naively as it can be written: by enumeration and with
fractions. Shares nothing with ``council.deliberation`` but the type of a ballot."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise, permutations

from council.deliberation.types import Ballot

Winners = set[int]


class Election:
    """``ballots`` over candidates "o0" .. and ``positions`` and ``weights`` of seats, in indices."""

    def __init__(
        self, m: int, ballots: Sequence[Ballot], positions: Sequence[int] = (), weights: Sequence[Fraction] = ()
    ) -> None:
        self.m = m
        self.cast = [ballot for ballot in ballots if ballot.ranking and not ballot.abstain]
        self.positions, self.weights = list(positions), list(weights)

    def ranking(self, ballot: Ballot) -> list[int]:
        return [int(c[1:]) for c in ballot.ranking]

    def shown(self, ballot: Ballot) -> list[int]:
        return [c for c in range(self.m) if f"o{c}" not in ballot.unseen]

    def prefers(self, ballot: Ballot, a: int, b: int) -> bool:
        ranking, shown = self.ranking(ballot), self.shown(ballot)
        if a not in ranking or b not in shown:
            return False
        return b not in ranking or ranking.index(a) < ranking.index(b)

    def support(self, a: int, b: int) -> int:
        return sum(self.prefers(ballot, a, b) for ballot in self.cast)

    def strength(self, a: int, b: int) -> int:
        return self.support(a, b) if self.support(a, b) > self.support(b, a) else 0


def best(scores: Mapping[int, object]) -> Winners:
    top = max(scores.values(), key=lambda score: score, default=None)  # type: ignore[arg-type,return-value]
    return {c for c, score in scores.items() if score == top}


def plurality(e: Election) -> Winners:
    firsts = [e.ranking(b)[0] for b in e.cast if len(e.shown(b)) > 1 or e.m == 1]
    return best({c: firsts.count(c) for c in range(e.m)})


def borda(e: Election) -> Winners:
    scores = dict.fromkeys(range(e.m), Fraction(0))
    for ballot in e.cast:
        shown, ranking = e.shown(ballot), e.ranking(ballot)
        for c in range(e.m):
            scores[c] += _points(c, shown, ranking, e.m)
    return best(scores)


def _points(c: int, shown: list[int], ranking: list[int], m: int) -> Fraction:
    if c not in shown or len(shown) == 1:
        return Fraction(m - 1, 2)
    stretch = Fraction(m - 1, len(shown) - 1)
    if c in ranking:
        return stretch * (len(shown) - 1 - ranking.index(c))
    rest = len(shown) - len(ranking)
    return stretch * Fraction(sum(range(rest)), rest)


def schulze(e: Election) -> Winners:
    """By all simple paths."""

    def beatpath(a: int, b: int) -> int:
        between = [c for c in range(e.m) if c not in {a, b}]
        paths = ([a, *middle, b] for length in range(len(between) + 1) for middle in permutations(between, length))
        return max(min(links[x, y] for x, y in pairwise(path)) for path in paths)

    links = {(a, b): e.strength(a, b) for a in range(e.m) for b in range(e.m)}
    return {a for a in range(e.m) if all(beatpath(a, b) >= beatpath(b, a) for b in range(e.m) if b != a)}


def ranked_pairs(e: Election) -> Winners:
    """By stacks (Zavist and Tideman, 1989): an order in which whoever stands above another has, against a majority for the
    other, a downward path of majorities at least as strong. The first of any stack wins."""
    links = {(a, b): e.strength(a, b) for a in range(e.m) for b in range(e.m)}

    def widest_down(order: tuple[int, ...], i: int, j: int) -> int:
        reach = {order[i]: 10**6}
        for k in range(i + 1, j + 1):
            reach[order[k]] = max(min(reach[order[h]], links[order[h], order[k]]) for h in range(i, k))
        return reach[order[j]]

    def is_stack(order: tuple[int, ...]) -> bool:
        pairs = ((i, j) for i in range(e.m) for j in range(i + 1, e.m))
        return all(
            not links[order[j], order[i]] or widest_down(order, i, j) >= links[order[j], order[i]] for i, j in pairs
        )

    return {order[0] for order in permutations(range(e.m)) if is_stack(order)}


def irv(e: Election, standing: frozenset[int] | None = None) -> Winners:
    """One at a time, every choice among the last; candidates without a vote together."""
    standing = frozenset(range(e.m)) if standing is None else standing
    votes = dict.fromkeys(standing, 0)
    for ballot in e.cast:
        compared = [c for c in e.shown(ballot) if c in standing]
        named = [c for c in e.ranking(ballot) if c in standing]
        if named and (len(compared) > 1 or len(standing) == 1):
            votes[named[0]] += 1
    fewest = min(votes.values())
    last = {c for c in standing if votes[c] == fewest}
    if len(standing) == 1 or (last == standing and not fewest):
        return set(standing)
    if not fewest:
        return irv(e, standing - last)
    return {winner for c in last for winner in irv(e, standing - {c})}


def _grades(e: Election, ballot: Ballot) -> dict[int, int]:
    return {c: ballot.scores.get(f"o{c}", 0) for c in e.shown(ballot)} if ballot.scores else {}


def score(e: Election) -> Winners:
    sums = dict.fromkeys(range(e.m), Fraction(0))
    for given in filter(None, (_grades(e, ballot) for ballot in e.cast)):
        mean = Fraction(sum(given.values()), len(given))
        for c in sums:
            sums[c] += given.get(c, mean)
    return best(sums)


def median(e: Election) -> Winners:
    """By taking lower medians away until one candidate's is higher."""
    rows = [given for given in (_grades(e, ballot) for ballot in e.cast) if given]
    columns = {
        c: sorted(given.get(c, sorted(given.values())[(len(given) - 1) // 2]) for given in rows) for c in range(e.m)
    }
    tied = set(columns)
    for _ in rows:
        middles = {c: columns[c].pop((len(columns[c]) - 1) // 2) for c in tied}
        tied = best(middles)
    return tied


def approval(e: Election) -> Winners:
    sums = dict.fromkeys(range(e.m), Fraction(0))
    for ballot in e.cast:
        scores, shown = ballot.scores, e.shown(ballot)
        liked = {c for c in shown if (scores.get(f"o{c}", 0) >= 6 if scores else c == e.ranking(ballot)[0])}
        for c in sums:
            sums[c] += int(c in liked) if c in shown else Fraction(len(liked), len(shown))
    return best(sums)


def _share(e: Election, enough: Callable[[int, int], bool]) -> Winners:
    held = e.positions
    return {c for c in set(held) if enough(held.count(c), len(held))}


def confidence_weighted(e: Election) -> Winners:
    sums: dict[int, Fraction] = {}
    for c, weight in zip(e.positions, e.weights, strict=True):
        sums[c] = sums.get(c, Fraction(0)) + weight
    return best(sums)


BALLOT_RULES: dict[str, Callable[[Election], Winners]] = {
    "plurality": plurality,
    "borda": borda,
    "schulze": schulze,
    "ranked_pairs": ranked_pairs,
    "irv": irv,
    "score": score,
    "median": median,
    "approval": approval,
}
POSITION_RULES: dict[str, Callable[[Election], Winners]] = {
    "majority": lambda e: _share(e, lambda n, of: Fraction(n, of) > Fraction(1, 2)),
    "two_thirds": lambda e: _share(e, lambda n, of: Fraction(n, of) >= Fraction(2, 3)),
    "unanimity": lambda e: _share(e, lambda n, of: n == of),
    "confidence_weighted": confidence_weighted,
}


def winners(e: Election) -> dict[str, Winners]:
    """By every rule; nobody where nobody voted."""
    by_ballots = {name: rule(e) if e.cast else set() for name, rule in BALLOT_RULES.items()}
    return by_ballots | {name: rule(e) if e.positions else set() for name, rule in POSITION_RULES.items()}


def random_election(rng: random.Random) -> tuple[int, dict[str, Ballot], dict[str, str], dict[str, float]]:
    """Two to five candidates and up to nine seats with abstentions, short rankings, missing scores, withheld candidates and few
    distinct values, so that ties are common: (m, ballots, positions, confidences)."""
    m, n = rng.randint(2, 5), rng.randint(0, 9)
    ballots = {f"s{i}": _random_ballot(rng, m) for i in range(n)}
    positions = {seat: f"o{rng.randrange(m)}" for seat in ballots if rng.random() < 0.9}
    return m, ballots, positions, {seat: rng.choice([0.0, 0.3, 0.5, 0.8, 1.0]) for seat in ballots}


def _random_ballot(rng: random.Random, m: int) -> Ballot:
    if rng.random() < 0.1:
        return Ballot(abstain=True)
    shown = list(range(m))
    unseen = [shown.pop(rng.randrange(m))] if rng.random() < 0.3 else []
    order = rng.sample(shown, len(shown)) if rng.random() < 0.7 else shown
    ranking = order[: rng.randint(1, len(order))] if rng.random() < 0.4 else order
    scored = [c for c in shown if rng.random() < 0.8] if rng.random() < 0.8 else []
    scores = {f"o{c}": rng.choice([0, 3, 5, 6, 10]) for c in scored}
    return Ballot(ranking=tuple(f"o{c}" for c in ranking), scores=scores, unseen=tuple(f"o{c}" for c in unseen))
