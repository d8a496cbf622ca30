"""Effective votes and families of models."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council.deliberation.families import family, family_warnings
from council.deliberation.independence import (
    LEAST,
    Opening,
    agreement_beyond_chance,
    effective_votes,
    error_correlation,
    estimate,
)


def test_effective_votes_by_hand() -> None:
    assert effective_votes(9, 0) == 9
    assert effective_votes(9, 1) == 1
    assert effective_votes(9, 0.5) == pytest.approx(1.8)
    assert effective_votes(3, -0.4) == 3


@given(st.integers(1, 20), st.floats(-1, 1))
def test_seats_are_worth_at_least_one_vote_and_at_most_one_each(n: int, rho: float) -> None:
    assert 1 - 1e-9 <= effective_votes(n, rho) <= n


def test_agreement_is_counted_beyond_chance() -> None:
    agreed = Opening([("x", "o1"), ("y", "o1")], options=2)
    split = Opening([("x", "o1"), ("y", "o2")], options=4)
    assert agreement_beyond_chance(agreed) == {("x", "y"): 1}
    assert agreement_beyond_chance(split) == {("x", "y"): pytest.approx(-1 / 3)}


def test_seats_of_one_model_are_a_pair_of_their_own() -> None:
    opening = Opening([("x", "o1"), ("x", "o1"), ("y", "o2")], options=2)
    assert agreement_beyond_chance(opening) == {("x", "x"): 1, ("x", "y"): -1}


def test_an_estimate_takes_every_pair_of_the_council() -> None:
    """Two seats on x always agree, x and y by chance: ρ = (1 + 0 + 0) / 3."""
    same = [Opening([("x", "o1"), ("x", "o1"), ("y", held)], 2) for held in ["o1", "o2"] * (LEAST // 2)]
    found = estimate(["x", "y", "x"], same)
    assert found.sessions == LEAST
    assert found.rho == pytest.approx(1 / 3)
    assert found.n_eff == pytest.approx(3 / (1 + 2 / 3))


def test_fewer_than_thirty_sessions_give_no_estimate() -> None:
    few = [Opening([("x", "o1"), ("y", "o1")], 2)] * (LEAST - 1)
    assert estimate(["x", "y"], few) == (2, LEAST - 1, None, None)
    assert estimate(["x", "z"], few * 2).n_eff is None


def test_errors_where_the_truth_is_known() -> None:
    always_together = {"a": [True, False, True, False], "b": [True, False, True, False]}
    assert error_correlation(always_together) == pytest.approx(1)
    assert error_correlation({"a": [True, False, True, False], "b": [True, True, False, False]}) == pytest.approx(0)
    assert error_correlation({"a": [False, False], "b": [True, False]}) is None


@pytest.mark.parametrize(
    ("model", "kin"),
    [
        ("gpt-4o-mini", "gpt"),
        ("openai/o3", "gpt"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama"),
        ("llama3.1:8b", "llama"),
        ("claude-sonnet-4-5", "claude"),
        ("SmolLM2-135M-Instruct", "smollm"),
        ("7b", "7b"),
    ],
)
def test_families(model: str, kin: str) -> None:
    assert family(model) == kin


def test_one_family_warns_and_two_do_not() -> None:
    assert "gpt" in family_warnings(["gpt-4o", "openai/gpt-4.1", "o3"])[0]
    assert "default model" in family_warnings(["", ""])[0]
    assert family_warnings(["gpt-4o", "claude-sonnet-4-5"]) == []
    assert family_warnings(["gpt-4o"]) == []
