"""From scored candidates to hits. Pure.

``score = w · bm25 / max(bm25) + (1 − w) · cosine`` over the union of both candidate lists, every candidate scored by both; w is 0.3
unless the pack says otherwise. Best of seven ways on seven collections, flat between 0.2 and 0.4.

BM25 is the whole entry's, cosine the passage's: words that stand apart in a document still count together, as in any BM25 over
documents, while meaning is compared piece by piece and the entry's nearest passage counts. Which passage of an entry is shown is
decided by the passages' own BM25 and cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    lexical: float | None  # BM25 of the entry, at least 0, without an upper bound
    semantic: float | None  # cosine, −1 to 1
    lexical_weight: float = 0.3
    own_lexical: float | None = None  # BM25 of the passage, when that is another


@dataclass(frozen=True, slots=True)
class Ranked:
    """An entry's best passage, and how many more of its passages were candidates."""

    candidate: Candidate
    score: float
    more: int


def fuse(candidates: Sequence[Candidate], mode: Mode) -> list[Ranked]:
    """One hit for each entry, best first; ties in the order of passage ids, so that equal searches give equal lists."""
    highest = max((candidate.lexical or 0.0 for candidate in candidates), default=0.0)
    ranked = [
        Ranked(candidate, _score(candidate, candidate.lexical, highest, mode), more)
        for candidate, more in _best_passages(candidates, mode)
    ]
    return sorted(ranked, key=lambda item: (-item.score, item.candidate.passage))


def _best_passages(candidates: Sequence[Candidate], mode: Mode) -> list[tuple[Candidate, int]]:
    """For each entry the passage to show, with the entry's best cosine, and the number of its other candidates."""
    highest = max((_own(candidate) for candidate in candidates), default=0.0)
    of_entry: dict[UUID, list[Candidate]] = {}
    for candidate in candidates:
        of_entry.setdefault(candidate.entry, []).append(candidate)

    def place(candidate: Candidate) -> tuple[float, UUID]:
        return -_score(candidate, _own(candidate), highest, mode), candidate.passage

    return [
        (passages[0], 0)  # most entries have one, which need not be compared with itself
        if len(passages) == 1
        else (replace(min(passages, key=place), semantic=_highest_cosine(passages)), len(passages) - 1)
        for passages in of_entry.values()
    ]


def _own(candidate: Candidate) -> float:
    return (candidate.lexical if candidate.own_lexical is None else candidate.own_lexical) or 0.0


def _highest_cosine(passages: Sequence[Candidate]) -> float | None:
    return max((passage.semantic for passage in passages if passage.semantic is not None), default=None)


def _score(candidate: Candidate, bm25: float | None, highest: float, mode: Mode) -> float:
    lexical = (bm25 or 0.0) / highest if highest > 0 else 0.0
    semantic = candidate.semantic or 0.0
    if mode is Mode.LEXICAL:
        return lexical
    if mode is Mode.SEMANTIC:
        return semantic
    return candidate.lexical_weight * lexical + (1 - candidate.lexical_weight) * semantic
