"""Margins against their definition by brute force, and what they are told."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council.deliberation import margin, rules, runoff
from council.deliberation.consensus import elect, tally
from council.deliberation.rules import Preference
from council.deliberation.types import Ballot, Rule
from tests.council.deliberation.conftest import deep
from tests.council.deliberation.elections import Profile, decide, elections, favourites, options, profile

RANKINGS = [Rule.PLURALITY, Rule.BORDA, Rule.SCHULZE, Rule.RANKED_PAIRS, Rule.IRV]
SCORES = [Rule.SCORE, Rule.MEDIAN, Rule.APPROVAL]


def brute_margin(m: int, ballots: Profile, rule: Rule) -> int | None:
    """The definition, by recounting everything: replace every set of 1, then 2 ballots by every choice of what the rule reads."""
    winner = decide(m, ballots, rule).winner
    held = favourites(ballots)
    instead = list(scores_instead(m)) if rule in SCORES else list(orders_instead(m))
    for size in (1, 2):
        for seats, changes in product(combinations(ballots, size), product(instead, repeat=size)):
            changed = ballots | {
                seat: ballots[seat].model_copy(update={"abstain": False, **change})
                for seat, change in zip(seats, changes, strict=True)
            }
            if elect(options(m), held, changed, rule, 0, {}) != winner:
                return size
    return None


def orders_instead(m: int) -> Iterator[dict[str, object]]:
    return ({"ranking": tuple(f"o{i}" for i in order)} for order in permutations(range(m)))


def scores_instead(m: int) -> Iterator[dict[str, object]]:
    """Every way of giving 0, 5, 6 and 10."""
    return ({"scores": {f"o{i}": s for i, s in enumerate(row)}} for row in product((0, 5, 6, 10), repeat=m))


def profiles(rng: random.Random, m: int, n: int) -> Profile:
    """From hardly any agreement to nearly full."""
    lean = rng.choice((0, 0.3, 0.6, 0.8, 0.9, 1))
    base = "".join(map(str, range(m)))
    orders = [base if rng.random() < lean else "".join(rng.sample(base, rng.randint(0, m))) for _ in range(n)]
    return profile(*orders)


@pytest.mark.parametrize("rule", RANKINGS)
def test_margin_is_what_brute_force_finds(rule: Rule) -> None:
    rng = random.Random(rule.value)
    found = set()
    for _ in range(120 if deep() else 12):
        ballots = profiles(rng, 3, rng.choice((5, 7)))
        result = decide(3, ballots, rule)
        found.add(result.margin)
        assert result.margin == brute_margin(3, ballots, rule), ballots
    assert len(found) > 1


@pytest.mark.parametrize("rule", SCORES)
def test_margin_of_scores_is_what_brute_force_finds(rule: Rule) -> None:
    rng = random.Random(rule.value)
    found = set()
    for _ in range(60 if deep() else 12):
        lean = rng.choice((0, 0, 4, 8))
        rows = [{"o0": min(10, rng.randint(0, 10) + lean), "o1": rng.randint(0, 10)} for _ in range(rng.choice((3, 5)))]
        ballots = {f"s{i}": Ballot(ranking=("o0", "o1"), scores=row) for i, row in enumerate(rows)}
        result = decide(2, ballots, rule)
        found.add(result.margin)
        assert result.margin == brute_margin(2, ballots, rule), rows
    assert len(found) > 1


def test_margin_of_a_majority_counts_seats() -> None:
    held = {f"s{i}": "o0" if i < 4 else "o1" for i in range(7)}
    wide = held | {"s4": "o0", "s5": "o0"}
    assert tally(options(2), held, None, Rule.MAJORITY, 0, {}).margin == 1
    assert tally(options(2), wide, None, Rule.MAJORITY, 0, {}).margin is None


@pytest.mark.parametrize(
    ("rule", "margins"),
    [(Rule.TWO_THIRDS, (2, None, None)), (Rule.UNANIMITY, (2, 1, 1)), (Rule.MAJORITY, (2, None, None))],
)
def test_margins_of_qualified_majorities_count_seats(rule: Rule, margins: tuple[int | None, ...]) -> None:
    """Seven, eight and nine of nine. Nobody elected is an outcome, too."""
    for n, expected in zip((7 if rule is not Rule.MAJORITY else 6, 8, 9), margins, strict=True):
        held = {f"s{i}": "o0" if i < n else "o1" for i in range(9)}
        assert tally(options(2), held, None, rule, 0, {}).margin == expected


def test_a_change_of_position_takes_its_confidence_along() -> None:
    held = {"s0": "o0", "s1": "o0", "s2": "o1"}
    sure = tally(options(2), held, None, Rule.CONFIDENCE_WEIGHTED, 0, {"s0": 0.3, "s1": 0.4, "s2": 0.9})
    assert (sure.winner, sure.margin) == ("o1", 1)
    assert tally(options(2), held, None, Rule.CONFIDENCE_WEIGHTED, 0, {}).margin == 1


def test_margin_of_positions_replaces_positions() -> None:
    held = {f"s{i}": "o0" if i < 4 else "o1" for i in range(5)}
    assert tally(options(2), held, None, Rule.PLURALITY, 0, {}).margin == 2


@given(elections(max_m=4, max_n=5), st.sampled_from(RANKINGS), st.integers(1, 2), st.data())
def test_whoever_is_ruled_out_cannot_win(
    election: tuple[int, Profile], rule: Rule, wild: int, data: st.DataObject
) -> None:
    """The short cut of the search: adding ballots elects nobody whom it called out of reach."""
    m, ballots = election
    added = {f"x{i}": Ballot(ranking=tuple(f"o{c}" for c in data.draw(st.permutations(range(m))))) for i in range(wild)}
    rest = [Preference(tuple(int(c[1:]) for c in b.ranking), tuple(range(m))) for b in ballots.values()]
    if rule is Rule.IRV:
        mask = runoff.reachable(Counter(rest), m, wild)
        within = {c for c in range(m) if mask >> c & 1}
    else:
        count = rules.total((rules.contribution(p, m) for p in rest), rules.count_length(m))
        within = rules.reachable(rule, count, m, wild)
    elected = decide(m, ballots | added, Rule.MAJORITY).rules[rule.value].winners
    assert {int(c[1:]) for c in elected} <= within


def test_one_ballot_is_not_replaced_twice() -> None:
    zero = margin.Alternatives(((0,),))
    units = [((2,), zero), ((0,), zero)]
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
