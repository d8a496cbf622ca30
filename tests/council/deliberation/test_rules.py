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


@pytest.fixture(scope="module")
def oracle() -> Iterator[SimpleNamespace]:
    """The parts of ``pref_voting`` that count.

    Release 0.5.4, the newest one that admits our numpy, imports numba and nashpy without declaring them. It uses numba only
    as a decorator that makes functions faster and nashpy only for maximal lotteries, so where they are not installed (they
    weigh 200 MB) a decorator that does nothing and an empty module give the same winners.
    """
    numba, nashpy = ModuleType("numba"), ModuleType("nashpy")
    numba.jit = lambda *_, **__: lambda function: function  # type: ignore[attr-defined]  # a module made on the spot
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(\")?.*invalid escape sequence")  # its docstrings hold raw LaTeX
        for absent in (module for module in (numba, nashpy) if importlib.util.find_spec(module.__name__) is None):
            patch.setitem(sys.modules, absent.__name__, absent)
        from pref_voting.margin_based_methods import beat_path
        from pref_voting.profiles_with_ties import ProfileWithTies
        from pref_voting.scoring_methods import symmetric_borda_scores

        yield SimpleNamespace(schulze=beat_path, borda=symmetric_borda_scores, profile=ProfileWithTies)


def oracle_profile(oracle: SimpleNamespace, m: int, rankings: Sequence[Sequence[int]]) -> Any:
    """Unranked candidates are below ranked ones and tied among themselves ("extended strict preference")."""
    ranks = [{candidate: place for place, candidate in enumerate(ranking, start=1)} for ranking in rankings]
    made = oracle.profile(ranks, candidates=list(range(m)))
    made.use_extended_strict_preference()
    return made


def random_rankings(seed: int, *, partial: bool) -> tuple[int, list[list[int]]]:
    rng = random.Random(seed)
    m, n = rng.randint(2, 6), rng.randint(1, 9)
    rankings = [rng.sample(range(m), m) for _ in range(n)]
    return m, [ranking[: rng.randint(1, m)] for ranking in rankings] if partial else rankings


def best(scores: Mapping[int, float]) -> tuple[str, ...]:
    return tuple(f"o{c}" for c in sorted(scores) if scores[c] == max(scores.values()))


@pytest.mark.parametrize("partial", [False, True], ids=["complete", "partial"])
def test_rules_agree_with_pref_voting(oracle: SimpleNamespace, partial: bool) -> None:
    for seed in range(300):
        m, rankings = random_rankings(seed, partial=partial)
        theirs = oracle_profile(oracle, m, rankings)
        ours = decide(m, profile(*("".join(map(str, ranking)) for ranking in rankings))).rules
        beat_path = oracle.schulze(theirs, strength_function=theirs.support)
        assert ours["schulze"].winners == tuple(f"o{c}" for c in beat_path), rankings
        assert ours["borda"].winners == best(oracle.borda(theirs)), rankings
        assert ours["plurality"].winners == best(theirs.plurality_scores()), rankings


@pytest.mark.parametrize("partial", [False, True], ids=["complete", "partial"])
def test_scores_agree_with_pref_voting(oracle: SimpleNamespace, partial: bool) -> None:
    for seed in range(300, 400):
        m, rankings = random_rankings(seed, partial=partial)
        theirs = oracle_profile(oracle, m, rankings)
        ours = decide(m, profile(*("".join(map(str, ranking)) for ranking in rankings))).rules
        # A symmetric Borda score is (rivals below - rivals above); ours is the points (m-1)/2 around which it swings.
        points = {f"o{c}": (len(rankings) * (m - 1) + score) / 2 for c, score in oracle.borda(theirs).items()}
        assert ours["borda"].scores == pytest.approx(points)
        assert ours["plurality"].scores == {f"o{c}": n for c, n in theirs.plurality_scores().items()}


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
