"""Margins against their definition by brute force, and what they are told."""

from __future__ import annotations

import random
from itertools import combinations, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council.deliberation import margin, rules
from council.deliberation.consensus import tally
from council.deliberation.rules import Preference
from council.deliberation.types import Ballot, Rule
from tests.council.deliberation.elections import Profile, decide, elections, favourites, options, profile


def brute_margin(m: int, ballots: Profile, rule: Rule) -> int | None:
    """The definition, by recounting everything: replace every set of 1, then 2 ballots by every choice of linear orders."""
    winner = decide(m, ballots, rule).winner
    held = favourites(ballots)
    linear = [tuple(f"o{i}" for i in order) for order in permutations(range(m))]
    for size in (1, 2):
        for seats, orders in product(combinations(ballots, size), product(linear, repeat=size)):
            changed = ballots | {
                seat: Ballot(ranking=order, scores=ballots[seat].scores)
                for seat, order in zip(seats, orders, strict=True)
            }
            if tally(options(m), held, changed, rule, 0, {}).winner != winner:
                return size
    return None


@pytest.mark.parametrize("rule", [Rule.PLURALITY, Rule.BORDA, Rule.SCHULZE])
def test_margin_is_what_brute_force_finds(rule: Rule) -> None:
    rng = random.Random(rule.value)
    found = set()
    for lean in (0, 0, 0.3, 0.3, 0.6, 0.6, 0.9, 1):
        orders = ["012" if rng.random() < lean else "".join(rng.sample("012", rng.randint(0, 3))) for _ in range(7)]
        ballots = profile(*orders)
        result = decide(3, ballots, rule)
        found.add(result.margin)
        assert result.margin == brute_margin(3, ballots, rule), orders
    assert found == {1, 2, None}


def test_margin_of_a_majority_counts_seats() -> None:
    held = {f"s{i}": "o0" if i < 4 else "o1" for i in range(7)}
    wide = held | {"s4": "o0", "s5": "o0"}
    assert tally(options(2), held, None, Rule.MAJORITY, 0, {}).margin == 1
    assert tally(options(2), wide, None, Rule.MAJORITY, 0, {}).margin is None


def test_margin_of_positions_replaces_positions() -> None:
    held = {f"s{i}": "o0" if i < 4 else "o1" for i in range(5)}
    assert tally(options(2), held, None, Rule.PLURALITY, 0, {}).margin == 2


@given(elections(max_m=3, max_n=5), st.sampled_from([Rule.PLURALITY, Rule.BORDA, Rule.SCHULZE]))
def test_ballots_called_safe_to_replace_are(election: tuple[int, Profile], rule: Rule) -> None:
    m, ballots = election
    everyone = tuple(range(m))
    orders = tuple(rules.contribution(Preference(order, everyone), m) for order in permutations(everyone))
    cast = [rules.contribution(Preference(tuple(int(c[1:]) for c in b.ranking), everyone), m) for b in ballots.values()]
    count = rules.total(cast, rules.count_length(m))
    winners = rules.BALLOT_RULES[rule]
    changed = margin.search(
        [(vector, orders) for vector in cast], lambda trial: hash(tuple(winners(trial, m))), rules.count_length(m)
    )
    assert changed is None or changed > rules.safe_replacements(rule, count, m)


def test_one_ballot_is_not_replaced_twice() -> None:
    units = [((2,), ((0,),)), ((0,), ((0,),))]
    assert margin.search(units, lambda count: int(count[0] < 0), length=1) is None


def test_a_margin_beyond_the_exhaustive_search_is_real() -> None:
    ballots = profile("012345", "012345", "102345", "543210", "543210")
    result = decide(6, ballots)
    assert result.margin == 1
    swapped = ballots | {"s2": Ballot(ranking=("o5", "o4", "o3", "o2", "o1", "o0"))}
    assert decide(6, swapped).winner != result.winner


def test_a_margin_of_one_reads_too_close() -> None:
    result = decide(2, profile("01", "01", "10"))
    assert (result.margin, result.too_close) == (1, True)


def test_a_clear_win_does_not_read_too_close() -> None:
    result = decide(3, profile(*["012"] * 6))
    assert (result.margin, result.too_close) == (None, False)
