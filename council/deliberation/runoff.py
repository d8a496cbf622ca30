"""Instant runoff (IRV, the single transferable vote for one seat): the candidate with the fewest votes goes out, its ballots
pass to the next candidate they name, until one is left.

- A ballot that names none of those who remain is exhausted. A ballot whose voter was shown but one of those who remain had no
  choice between them and counts for nobody at that stage (as in ``rules``: what was withheld is missing data).
- Candidates without any vote go out together. Among several with equally few votes, each is tried ("parallel universes"), so
  that neither names nor positions decide: a candidate wins when *some* order of elimination makes it win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from council.deliberation.rules import Preference


class Result(NamedTuple):
    """``winners`` ascending; ``outlasted[c]``: of how many rivals c sees the end at most (m - 1 for a winner)."""

    winners: tuple[int, ...]
    outlasted: tuple[int, ...]


def count(ballots: Mapping[Preference, int], m: int) -> Result:
    """``ballots``: how many there are of each kind. Nobody wins when no ballot names anybody."""
    groups = _groups(ballots)
    winners: set[int] = set()
    outlasted = [0] * m
    waiting, seen = [(1 << m) - 1] if groups else [], set()
    while waiting:
        standing = waiting.pop()
        if standing in seen:
            continue
        seen.add(standing)
        out = _eliminations(votes(groups, standing, m), standing)
        if not out:
            winners.update(c for c in range(m) if standing >> c & 1)
        for mask in out:
            for c in range(m):
                if mask >> c & 1:
                    outlasted[c] = max(outlasted[c], m - standing.bit_count())
            waiting.append(standing & ~mask)
    for c in winners:
        outlasted[c] = m - 1
    return Result(tuple(sorted(winners)), tuple(outlasted))


Group = tuple[tuple[int, ...], int, int]  # ranking, mask of what was shown, ballots


def _groups(ballots: Mapping[Preference, int]) -> list[Group]:
    return [(p.ranking, sum(1 << c for c in p.shown), n) for p, n in ballots.items() if p.ranking]


def votes(groups: Sequence[Group], standing: int, m: int) -> list[int]:
    found = [0] * m
    alone = standing & (standing - 1) == 0
    for ranking, shown, n in groups:
        choice = shown & standing
        if alone or choice & (choice - 1):
            for c in ranking:
                if standing >> c & 1:
                    found[c] += n
                    break
    return found


def _eliminations(found: Sequence[int], standing: int) -> list[int]:
    """Masks of who may go out next; none when one is left or when nobody has a vote any more, which is a tie of all."""
    remaining = [c for c in range(len(found)) if standing >> c & 1]
    fewest = min(found[c] for c in remaining)
    last = [c for c in remaining if found[c] == fewest]
    if len(remaining) == 1 or (fewest == 0 and len(last) == len(remaining)):
        return []
    if fewest == 0:
        return [sum(1 << c for c in last)]
    return [1 << c for c in last]


def reachable(ballots: Mapping[Preference, int], m: int, wild: int) -> int:
    """Mask of the candidates that can win at most when ``wild`` more ballots are cast in any way, even in different ways at
    different stages: whoever is outside cannot win."""
    groups = _groups(ballots)
    winners, waiting, seen = 0, [(1 << m) - 1], set()
    while waiting:
        standing = waiting.pop()
        if standing in seen:
            continue
        seen.add(standing)
        if standing & (standing - 1) == 0:
            winners |= standing
            continue
        found = votes(groups, standing, m)
        remaining = [c for c in range(m) if standing >> c & 1]
        last = [c for c in remaining if sum(max(0, found[c] - found[x]) for x in remaining) <= wild]
        waiting += [standing & ~(1 << c) for c in last]
        if sum(found) == 0:  # nobody need have a vote: all of them tie
            winners |= standing
    return winners
