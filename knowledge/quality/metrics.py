"""Measures of one ranked list against the set of entries that it should contain. Pure.

Relevance is binary: a golden question names what must be found, not how much. ``found`` is best first and holds no entry twice.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet
from math import log2

DEPTH = 10


def ndcg_at_10(found: Sequence[Hashable], expected: AbstractSet[Hashable]) -> float:
    """Normalised discounted cumulative gain of the first ten, 0 to 1 (Järvelin and Kekäläinen 2002, discount log2(rank + 1)).

    1 when the expected entries stand before all others; with more than ten expected, when the first ten are all expected.
    """
    ideal = sum(_discount(rank) for rank in range(1, min(len(expected), DEPTH) + 1))
    gained = sum(_discount(rank) for rank, item in enumerate(found[:DEPTH], 1) if item in expected)
    return gained / ideal if ideal else 0.0


def recall_at_10(found: Sequence[Hashable], expected: AbstractSet[Hashable]) -> float:
    """The share of the expected entries that stand among the first ten, 0 to 1."""
    return len(expected & set(found[:DEPTH])) / len(expected) if expected else 0.0


def reciprocal_rank(found: Sequence[Hashable], expected: AbstractSet[Hashable]) -> float:
    """One over the rank of the first expected entry among the first ten; 0 when there is none."""
    return next((1 / rank for rank, item in enumerate(found[:DEPTH], 1) if item in expected), 0.0)


def _discount(rank: int) -> float:
    return 1 / log2(rank + 1)
