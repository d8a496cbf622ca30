"""What one turn was shown: the evidence that it began with and what its searches added."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from council.deliberation.tools import Found, Search, SearchMade
from council.deliberation.types import Evidence


class Shelf:
    """Passages by number. A passage keeps its number for the whole turn, however often it is found."""

    def __init__(self, evidence: Sequence[Evidence]) -> None:
        self._items = list(evidence)
        self._numbers = {_place(item): item.n for item in evidence}
        self.made: list[SearchMade] = []

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return tuple(self._items)

    def add(self, search: Search, found: Iterable[Evidence]) -> tuple[Evidence, ...]:
        """The passages found, in their order, with the numbers that they have in this turn."""
        numbered = tuple(self._number(item) for item in found)
        places = tuple(Found(n=item.n, entry=item.entry, revision=item.revision) for item in numbered)
        self.made.append(SearchMade(**search.model_dump(), found=places))
        return numbered

    def _number(self, item: Evidence) -> Evidence:
        known = self._numbers.get(_place(item))
        if known is not None:
            return item.model_copy(update={"n": known})
        new = item.model_copy(update={"n": max(self._numbers.values(), default=0) + 1})
        self._numbers[_place(new)] = new.n
        self._items.append(new)
        return new


def _place(item: Evidence) -> tuple[str, int, int]:
    return item.revision, item.start, item.end
