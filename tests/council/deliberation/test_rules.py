"""Rules against an independent oracle and the literature."""

from __future__ import annotations

import importlib.util
import random
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given

from council.deliberation.types import Ballot, Rule
from tests.council.deliberation.elections import Profile, decide, elections, profile


# --- examples from the literature -------------------------------------------------------------------------------------


def repeated(*groups: tuple[int, str]) -> Profile:
    return profile(*(ranking for times, ranking in groups for _ in range(times)))


TENNESSEE = repeated((42, "0123"), (26, "1230"), (15, "2310"), (17, "3210"))  # Memphis Nashville Chattanooga Knoxville
FORTY_FIVE_VOTERS = repeated(  # the textbook example of Schulze's method; A..E = 0..4
    (5, "02143"), (5, "03421"), (8, "14302"), (3, "20143"), (7, "20413"), (2, "21034"), (7, "32410"), (8, "41032")
)


def test_plurality_can_elect_whom_most_rank_last() -> None:
    result = decide(4, TENNESSEE)
    assert result.rules["plurality"].winners == ("o0",)
    assert result.rules["borda"].winners == result.rules["schulze"].winners == ("o1",)
    assert result.rules["majority"].winners == ()
    assert result.too_close


def test_schulze_resolves_the_five_candidate_cycle() -> None:
    result = decide(5, FORTY_FIVE_VOTERS)
    assert (result.winner, result.decided_by) == ("o4", "schulze")
    assert result.rules["schulze"].scores == {"o4": 4, "o0": 3, "o2": 2, "o1": 1, "o3": 0}


def test_borda_passes_over_a_majority_favourite() -> None:
    result = decide(3, repeated((3, "012"), (2, "120")), Rule.BORDA)
    assert (result.winner, result.decided_by) == ("o1", "borda")
    assert result.rules["majority"].winners == result.rules["schulze"].winners == ("o0",)


def test_a_perfect_cycle_ties_under_every_rule_and_the_seed_decides() -> None:
    winners = {decide(3, profile("012", "120", "201"), seed=seed).winner for seed in range(30)}
    assert winners == {"o0", "o1", "o2"}
    assert decide(3, profile("012", "120", "201")).decided_by == "seed"


@given(elections())
def test_schulze_elects_the_condorcet_winner(election: tuple[int, Profile]) -> None:
    m, ballots = election
    ids = [f"o{i}" for i in range(m)]

    def prefers(ballot: Ballot, a: str, b: str) -> int:
        rank = {c: place for place, c in enumerate(ballot.ranking)}
        return (rank.get(a, m) < rank.get(b, m)) - (rank.get(a, m) > rank.get(b, m))

    beats_all = [a for a in ids if all(sum(prefers(v, a, b) for v in ballots.values()) > 0 for b in ids if b != a)]
    if beats_all and any(ballot.ranking for ballot in ballots.values()):
        assert decide(m, ballots).rules["schulze"].winners == tuple(beats_all)
