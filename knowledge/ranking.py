"""From scored candidates to hits. Pure.

``score = w · bm25 / max(bm25) + (1 − w) · cosine`` over the union of both candidate lists, every candidate scored by both; w is 0.3
unless the pack says otherwise. Best of seven ways on seven collections, flat between 0.2 and 0.4 (RETRIEVAL.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Mode(StrEnum):
    HYBRID = "hybrid"
    LEXICAL = "lexical"
    SEMANTIC = "semantic"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage with both scores; a score is None when it was not asked for, or (semantic) when its vector does not exist yet."""

    passage: UUID
    entry: UUID
    lexical: float | None  # BM25, at least 0, without an upper bound
    semantic: float | None  # cosine, −1 to 1
    lexical_weight: float = 0.3


@dataclass(frozen=True, slots=True)
class Ranked:
    """An entry's best passage, and how many more of its passages were candidates."""

    candidate: Candidate
    score: float
    more: int


def fuse(candidates: Sequence[Candidate], mode: Mode) -> list[Ranked]:
    """One hit for each entry, best first; ties in the order of passage ids, so that equal searches give equal lists."""
    highest = max((candidate.lexical or 0.0 for candidate in candidates), default=0.0)
    scored = sorted(
        ((_score(candidate, highest, mode), candidate) for candidate in candidates),
        key=lambda pair: (-pair[0], pair[1].passage),
    )
    return _collapse(scored)


def _score(candidate: Candidate, highest: float, mode: Mode) -> float:
    lexical = (candidate.lexical or 0.0) / highest if highest > 0 else 0.0
    semantic = candidate.semantic or 0.0
    if mode is Mode.LEXICAL:
        return lexical
    if mode is Mode.SEMANTIC:
        return semantic
    return candidate.lexical_weight * lexical + (1 - candidate.lexical_weight) * semantic


def _collapse(scored: Sequence[tuple[float, Candidate]]) -> list[Ranked]:
    count: dict[UUID, int] = {}
    best: dict[UUID, tuple[float, Candidate]] = {}
    for score, candidate in scored:
        count[candidate.entry] = count.get(candidate.entry, 0) + 1
        best.setdefault(candidate.entry, (score, candidate))
    return [Ranked(candidate, score, count[entry] - 1) for entry, (score, candidate) in best.items()]
