"""The measures against an oracle written from their definitions, without a line shared."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.quality.comparison import Change, compare, counts
from knowledge.quality.metrics import ndcg_at_10, recall_at_10, reciprocal_rank

GAINS = [1 / math.log2(2), 1 / math.log2(3), 1 / math.log2(4), 1 / math.log2(5), 1 / math.log2(6), 1 / math.log2(7),
         1 / math.log2(8), 1 / math.log2(9), 1 / math.log2(10), 1 / math.log2(11)]  # fmt: skip
ITEMS = st.integers(min_value=0, max_value=30)
LISTS = st.lists(ITEMS, unique=True, max_size=20)
SETS = st.frozensets(ITEMS, min_size=1, max_size=15)


def oracle_ndcg(found: list[int], expected: frozenset[int]) -> float:
    relevant = [1 if place < len(found) and found[place] in expected else 0 for place in range(10)]
    best = sorted([1] * len(expected) + [0] * 10, reverse=True)[:10]
    return sum(map(math.prod, zip(relevant, GAINS, strict=True))) / sum(map(math.prod, zip(best, GAINS, strict=True)))


def oracle_recall(found: list[int], expected: frozenset[int]) -> float:
    hits = 0
    for item in expected:
        if item in found and found.index(item) < 10:
            hits += 1
    return hits / len(expected)


def oracle_rank(found: list[int], expected: frozenset[int]) -> float:
    places = [found.index(item) + 1 for item in expected if item in found]
    return 1 / min(places) if places and min(places) <= 10 else 0


@given(LISTS, SETS)
def test_the_measures_agree_with_the_oracle(found: list[int], expected: frozenset[int]) -> None:
    assert ndcg_at_10(found, expected) == pytest.approx(oracle_ndcg(found, expected))
    assert recall_at_10(found, expected) == pytest.approx(oracle_recall(found, expected))
    assert reciprocal_rank(found, expected) == pytest.approx(oracle_rank(found, expected))


@given(LISTS, SETS)
def test_the_measures_lie_between_nothing_and_perfect(found: list[int], expected: frozenset[int]) -> None:
    perfect = [*expected, *(item for item in found if item not in expected)]
    for measure in (ndcg_at_10, recall_at_10, reciprocal_rank):
        assert 0 <= measure(found, expected) <= measure(perfect, expected) <= 1 + 1e-12


@given(LISTS, SETS)
def test_what_stands_after_the_tenth_changes_nothing(found: list[int], expected: frozenset[int]) -> None:
    for measure in (ndcg_at_10, recall_at_10, reciprocal_rank):
        assert measure(found, expected) == measure(found[:10], expected)


@pytest.mark.parametrize(
    ("found", "ndcg", "recall", "rank"),
    [
        pytest.param(["a", "b", "x"], 1.0, 1.0, 1.0, id="perfect"),
        pytest.param(["x", "a", "b"], 0.693426, 1.0, 0.5, id="one place late"),
        pytest.param(["x", "y", "b"], 0.306574, 0.5, 1 / 3, id="half"),
        pytest.param(["x"], 0.0, 0.0, 0.0, id="nothing"),
        pytest.param([], 0.0, 0.0, 0.0, id="no results"),
    ],
)
def test_known_values(found: list[str], ndcg: float, recall: float, rank: float) -> None:
    expected = frozenset({"a", "b"})
    assert ndcg_at_10(found, expected) == pytest.approx(ndcg, abs=1e-6)
    assert recall_at_10(found, expected) == pytest.approx(recall)
    assert reciprocal_rank(found, expected) == pytest.approx(rank)


def test_each_question_changes_in_one_way_worst_first() -> None:
    before = [{"question": name, "ndcg": ndcg} for name, ndcg in {"a": 1, "b": 0.5, "c": 0.5, "d": 0.2, "e": 1}.items()]
    now = [{"question": name, "ndcg": ndcg} for name, ndcg in {"a": 1, "b": 0.7, "c": 0.0, "d": 0.1, "f": 0.3}.items()]
    rows = compare(now, before)
    assert [(row["question"], row["change"]) for row in rows] == [
        ("c", Change.LOST), ("d", Change.DOWN), ("b", Change.UP), ("f", Change.NEW), ("e", Change.REMOVED), ("a", Change.SAME),
    ]  # fmt: skip
    assert rows[0] == {"question": "c", "change": "lost", "ndcg": 0.0, "before": 0.5}
    assert counts(rows) == {"lost": 1, "down": 1, "up": 1, "new": 1, "removed": 1, "same": 1}
