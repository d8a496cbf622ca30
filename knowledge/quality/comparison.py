"""What changed between two evaluations, question by question. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

_SAME = 1e-9  # sums of the same discounts may differ in the last bit


class Change(StrEnum):
    LOST = "lost"  # an expected entry was among the ten; none is now
    DOWN = "down"
    UP = "up"
    NEW = "new"  # was not asked before
    REMOVED = "removed"  # is not asked any more
    SAME = "same"


def compare(now: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each question of either run, worst news first: ``{question, change, ndcg, before}``.

    Questions are told apart by their words: one that was reworded is another question.
    """
    new, old = ({row["question"]: float(row["ndcg"]) for row in rows} for rows in (now, before))
    rows = [_row(question, new.get(question), old.get(question)) for question in {**new, **old}]
    order = list(Change)
    return sorted(rows, key=lambda row: (order.index(row["change"]), row["question"]))


def counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many questions changed in which way; every way is named."""
    found = Counter(row["change"] for row in rows)
    return {change.value: found[change] for change in Change}


def _row(question: str, ndcg: float | None, before: float | None) -> dict[str, Any]:
    return {"question": question, "change": _change(ndcg, before), "ndcg": ndcg, "before": before}


def _change(ndcg: float | None, before: float | None) -> Change:
    if ndcg is None:
        return Change.REMOVED
    if before is None:
        return Change.NEW
    if abs(ndcg - before) < _SAME:
        return Change.SAME
    if ndcg == 0:
        return Change.LOST
    return Change.UP if ndcg > before else Change.DOWN
