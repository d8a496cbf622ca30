"""Ranked pairs: lock majorities from the strongest to the weakest, skipping those that would close a cycle.

Tideman, "Independence of clones as a criterion for voting rules", Social Choice and Welfare 4 (1987). Strength is the number
of winning votes, as in ``rules.path_strengths``. Among few voters equal majorities are the normal case, and which of them is
locked first can decide: here a candidate wins when *some* order of the equal ones makes it win ("parallel universes"), so that
neither names nor positions decide; what then ties falls through the tie-breaks of every rule.

A state is a transitive relation: ``reach[a]`` is the bit mask of the candidates that are locked below a.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby

Edge = tuple[int, int]
Reach = tuple[int, ...]

# Parallel universes multiply where many equal majorities are knotted (deciding who can win is NP-complete: Brill and Fischer,
# AAAI 2012). Among five candidates there are ten majorities, which end in 226 states at most; where more than ten equal ones lie
# on cycles, those are all skipped.
KNOT = 10


@lru_cache(maxsize=1024)
def final_orders(pairs: tuple[int, ...], m: int) -> frozenset[Reach]:
    """The relations that some order of equal majorities ends in; ``pairs[a * m + b]`` ballots rank a above b."""
    states: set[Reach] = {(0,) * m}
    for group in _strongest_first(pairs, m):
        states = _lock(states, group) or {_lock_safe(state, group)[0] for state in states}
    return frozenset(states)


def _strongest_first(pairs: Sequence[int], m: int) -> Iterator[list[Edge]]:
    won = [(pairs[a * m + b], a, b) for a in range(m) for b in range(m) if pairs[a * m + b] > pairs[b * m + a]]
    for _, group in groupby(sorted(won, reverse=True), key=lambda one: one[0]):
        yield [(a, b) for _, a, b in group]


def _lock(starts: Iterable[Reach], group: Sequence[Edge]) -> set[Reach]:
    """Every state in which locking ``group`` in some order can end; none when the group is too much of a knot."""
    finals: set[Reach] = set()
    seen: set[Reach] = set()
    waiting = [(start, tuple(group)) for start in starts]
    while waiting:
        state, risky = _lock_safe(*waiting.pop())
        if len(risky) > KNOT:
            return set()
        if state not in seen:
            seen.add(state)
            waiting += [(_add(state, edge), risky) for edge in risky]
            if not risky:
                finals.add(state)
    return finals


def _lock_safe(state: Reach, edges: Iterable[Edge]) -> tuple[Reach, tuple[Edge, ...]]:
    """The state with every edge locked that lies on no cycle, whatever comes first, and the edges that are still open."""
    open_ = [(a, b) for a, b in edges if not state[b] >> a & 1 and not state[a] >> b & 1]
    everything = state
    for edge in open_:
        everything = _add(everything, edge)
    risky = []
    for a, b in open_:
        if everything[b] >> a & 1:
            risky.append((a, b))
        else:
            state = _add(state, (a, b))
    return state, tuple((a, b) for a, b in risky if not state[b] >> a & 1 and not state[a] >> b & 1)


def _add(state: Reach, edge: Edge) -> Reach:
    """With a above b: whatever reaches a now reaches b and what is below b."""
    a, b = edge
    gained = state[b] | 1 << b
    return tuple(below | gained if c == a or below >> a & 1 else below for c, below in enumerate(state))


def unbeaten(state: Reach) -> list[int]:
    beaten = 0
    for below in state:
        beaten |= below
    return [c for c in range(len(state)) if not beaten >> c & 1]
