"""The measures of a trial against figures worked out by hand and by SciPy and NumPy."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest  # type: ignore[import-untyped]

from council.deliberation import measures as m
from council.deliberation.figures import Axis, Frame
from council.deliberation.intervals import Share, wilson

STATED = [(0.9, True), (0.9, False), (0.6, True), (0.2, False)]


def test_wilsons_interval_is_scipys() -> None:
    for right, n in [(0, 5), (7, 10), (42, 60), (60, 60)]:
        theirs = binomtest(right, n).proportion_ci(method="wilson")
        assert wilson(right, n, 0.95)[1:] == pytest.approx((theirs.low, theirs.high))


def test_accuracy_is_the_mean_over_questions() -> None:
    assert m.accuracy({"a": 1.0, "b": 0.5}) == wilson(1.5, 2, 0.95)
    assert m.accuracy({}) is None


def test_mcnemar_by_hand() -> None:
    a = dict(zip("abcdefgh", [True] * 1 + [False] * 5 + [True, False], strict=True))
    b = dict(zip("abcdefgh", [False] * 1 + [True] * 5 + [True, False], strict=True))
    assert m.mcnemar(a, b) == pytest.approx(2 * (1 + 6) / 2**6)  # 1 against 5
    assert m.mcnemar(a, a) == 1


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test_of_the_split(only_a: int, only_b: int) -> None:
    a = {str(n): n < only_a for n in range(only_a + only_b)}
    b = {one: not right for one, right in a.items()}
    theirs = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert m.mcnemar(a, b) == pytest.approx(theirs)


def test_only_common_questions_are_compared() -> None:
    found = m.difference({"a": 0, "b": 1, "c": 0}, {"b": 1, "c": 1, "d": 1}, seed=1)
    assert found is not None
    assert (found.questions, found.mean) == (2, 0.5)
    assert m.difference({"a": 1}, {"b": 1}, seed=1) is None


def test_the_bootstrap_interval_is_near_the_normal_one_and_repeatable() -> None:
    rng = random.Random(7)
    a = {str(n): float(rng.random() < 0.6) for n in range(400)}
    b = {str(n): float(rng.random() < 0.7) for n in range(400)}
    gains = np.array([b[one] - a[one] for one in a])
    half = 1.96 * gains.std(ddof=1) / 20
    found = m.difference(a, b, seed=3)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.01)
    assert m.difference(a, b, seed=3) == found


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0, 1))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    assert m._quantile(sorted(values), share) == pytest.approx(np.quantile(values, share), abs=1e-12)


def test_briers_score_by_hand() -> None:
    assert m.brier(STATED) == pytest.approx((0.01 + 0.81 + 0.16 + 0.04) / 4)
    assert m.brier([]) is None


def test_calibration_error_by_hand() -> None:
    bins = m.reliability(STATED, bins=2)
    assert [(one.n, round(one.confidence, 3), one.right.right) for one in bins] == [(2, 0.4, 0.5), (2, 0.9, 0.5)]
    assert m.calibration_error(bins) == pytest.approx((0.1 + 0.4) / 2)
    assert m.calibration_error([]) is None


def test_equal_confidences_are_never_parted() -> None:
    bins = m.reliability([(0.5, n % 2 == 0) for n in range(30)] + [(0.9, True)], bins=3)
    assert [(one.n, one.right.right) for one in bins] == [(30, 0.5), (1, 1.0)]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80))
def test_bins_hold_every_answer_once_in_order(stated: list[m.Stated]) -> None:
    bins = m.reliability(stated)
    assert sum(one.n for one in bins) == len(stated)
    means = [one.confidence for one in bins]
    assert means == sorted(means)
    error = m.calibration_error(bins)
    assert error is not None
    assert 0 <= error <= 1


def test_answers_that_know_how_sure_they_are_have_little_error_and_overconfident_ones_much() -> None:
    rng = random.Random(5)
    sure = [rng.uniform(0.3, 1) for _ in range(4000)]
    honest = m.calibration_error(m.reliability([(c, rng.random() < c) for c in sure]))
    boastful = m.calibration_error(m.reliability([(c, rng.random() < c - 0.3) for c in sure]))
    assert honest == pytest.approx(0, abs=0.03)
    assert boastful == pytest.approx(0.3, abs=0.03)


def test_a_dot_stands_where_its_figures_say() -> None:
    axis = Axis(0, 10, (0, 10), "x & y")
    frame = Frame(
        "t < u", axis, Axis(0, 1, (0, 1), "share"), width=300, height=200, left=50, right=50, top=50, bottom=50
    )
    assert 'cx="100.0" cy="100.0"' in frame.dot(2.5, Share(0.5, 0.4, 0.6), "#000")
    whole = frame.document([])
    assert "x &amp; y" in whole
    assert "t &lt; u" in whole
