"""Every rule against the naive oracle and against pref_voting. 1,500 and 150 profiles here, 10,000 under ``make deep``."""

from __future__ import annotations

import importlib.util
import random
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from council.deliberation.consensus import tally
from council.deliberation.types import Ballot, Rule
from tests.council.deliberation import oracle as naive
from tests.council.deliberation.conftest import deep
from tests.council.deliberation.elections import decide, options, profile

PROFILES = 10_000 if deep() else 1_500
AGAINST_PREF_VOTING = 10_000 if deep() else 150


def test_every_rule_agrees_with_the_naive_oracle() -> None:
    rng = random.Random(4)
    for _ in range(PROFILES):
        m, ballots, positions, confidences = naive.random_election(rng)
        ours = tally(options(m), positions, ballots, Rule.MAJORITY, 1, confidences).rules
        weights = [Fraction(str(confidences[seat])) for seat in positions]
        election = naive.Election(m, list(ballots.values()), [int(c[1:]) for c in positions.values()], weights)
        theirs = {name: tuple(f"o{c}" for c in sorted(won)) for name, won in naive.winners(election).items()}
        assert {name: result.winners for name, result in ours.items()} == theirs, (ballots, positions, confidences)


def test_the_oracle_knows_every_rule_and_sees_ties() -> None:
    rng = random.Random(5)
    assert {*naive.BALLOT_RULES, *naive.POSITION_RULES} == {rule.value for rule in Rule}
    several = dict.fromkeys(naive.BALLOT_RULES, 0)
    for _ in range(100):
        m, ballots, _, _ = naive.random_election(rng)
        for name, won in naive.winners(naive.Election(m, list(ballots.values()))).items():
            if name in several:
                several[name] += len(won) > 1
    assert min(several.values()) >= 5


# --- pref_voting ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def oracle() -> Iterator[SimpleNamespace]:
    """The parts of ``pref_voting`` that count.

    Release 0.5.4, the newest one that admits our numpy, imports some packages without declaring them. It uses numba only as a
    decorator that makes functions faster, nashpy only for maximal lotteries, seaborn and pandas only for plots and tables, so
    where they are not installed (they weigh 300 MB) a decorator that does nothing and empty modules give the same winners.
    """
    undeclared = [ModuleType(name) for name in ("numba", "nashpy", "seaborn", "pandas")]
    undeclared[0].jit = lambda *_, **__: lambda function: function  # type: ignore[attr-defined]  # a module made on the spot
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(\")?.*invalid escape sequence")  # its docstrings hold raw LaTeX
        for absent in (module for module in undeclared if importlib.util.find_spec(module.__name__) is None):
            patch.setitem(sys.modules, absent.__name__, absent)
        from pref_voting.grade_methods import approval, majority_judgement, score_voting
        from pref_voting.grade_profiles import GradeProfile
        from pref_voting.iterative_methods import instant_runoff_put
        from pref_voting.margin_based_methods import beat_path, ranked_pairs
        from pref_voting.profiles import Profile
        from pref_voting.profiles_with_ties import ProfileWithTies
        from pref_voting.scoring_methods import symmetric_borda_scores

        yield SimpleNamespace(
            schulze=beat_path,
            ranked_pairs=ranked_pairs,
            borda=symmetric_borda_scores,
            irv=instant_runoff_put,
            score=score_voting,
            approval=approval,
            median=majority_judgement,
            profile=ProfileWithTies,
            linear=Profile,
            grades=GradeProfile,
        )


def oracle_profile(oracle: SimpleNamespace, m: int, rankings: Sequence[Sequence[int]]) -> Any:
    """Unranked candidates are below ranked ones and tied among themselves ("extended strict preference")."""
    ranks = [{candidate: place for place, candidate in enumerate(ranking, start=1)} for ranking in rankings]
    made = oracle.profile(ranks, candidates=list(range(m)))
    made.use_extended_strict_preference()
    return made


def random_rankings(seed: int, *, partial: bool, most: int = 6) -> tuple[int, list[list[int]]]:
    rng = random.Random(seed)
    m, n = rng.randint(2, most), rng.randint(1, 9)
    rankings = [rng.sample(range(m), m) for _ in range(n)]
    return m, [ranking[: rng.randint(1, m)] for ranking in rankings] if partial else rankings


def best(scores: Mapping[int, float]) -> tuple[str, ...]:
    return tuple(f"o{c}" for c in sorted(scores) if scores[c] == max(scores.values()))


def ids(found: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"o{c}" for c in found)


def cast(rankings: Sequence[Sequence[int]]) -> dict[str, Ballot]:
    return profile(*("".join(map(str, ranking)) for ranking in rankings))


@pytest.mark.parametrize("partial", [False, True], ids=["complete", "partial"])
def test_rules_over_rankings_agree_with_pref_voting(oracle: SimpleNamespace, partial: bool) -> None:
    for seed in range(AGAINST_PREF_VOTING):
        m, rankings = random_rankings(seed, partial=partial)
        theirs = oracle_profile(oracle, m, rankings)
        ours = decide(m, cast(rankings), Rule.MAJORITY).rules
        beat_path = oracle.schulze(theirs, strength_function=theirs.support)
        assert ours["schulze"].winners == ids(beat_path), rankings
        assert ours["borda"].winners == best(oracle.borda(theirs)), rankings
        assert ours["plurality"].winners == best(theirs.plurality_scores()), rankings


@pytest.mark.parametrize("partial", [False, True], ids=["complete", "partial"])
def test_ranked_pairs_agrees_with_pref_voting(oracle: SimpleNamespace, partial: bool) -> None:
    """Up to four candidates: pref_voting tries every order of equal majorities, which takes it minutes for five. It locks tied
    pairs too, either way around, so only profiles without tied pairs can be compared."""
    compared = 0
    for seed in range(AGAINST_PREF_VOTING):
        m, rankings = random_rankings(seed, partial=partial, most=4)
        theirs = oracle_profile(oracle, m, rankings)
        if any(theirs.is_tied(a, b) for a in range(m) for b in range(a)):
            continue
        compared += 1
        ours = decide(m, cast(rankings), Rule.MAJORITY).rules["ranked_pairs"].winners
        assert ours == ids(oracle.ranked_pairs(theirs, strength_function=theirs.support)), rankings
    assert compared > AGAINST_PREF_VOTING / 3


def test_instant_runoff_agrees_with_pref_voting(oracle: SimpleNamespace) -> None:
    """On complete rankings: its version for ties takes linear orders only."""
    for seed in range(AGAINST_PREF_VOTING):
        m, rankings = random_rankings(seed, partial=False, most=5)
        ours = decide(m, cast(rankings), Rule.MAJORITY).rules["irv"].winners
        assert ours == ids(oracle.irv(oracle.linear(rankings))), rankings


def test_rules_over_scores_agree_with_pref_voting(oracle: SimpleNamespace) -> None:
    """pref_voting breaks ties of the median by the majority gauge, which among few voters leaves some that whole majority values
    decide: ours are among its winners."""
    rng = random.Random(6)
    for _ in range(AGAINST_PREF_VOTING):
        m, n = rng.randint(2, 5), rng.randint(1, 9)
        rows = [{c: rng.choice([0, 4, 6, 8, 10]) for c in range(m)} for _ in range(n)]
        ballots = {
            f"s{i}": Ballot(ranking=("o0",), scores={f"o{c}": grade for c, grade in row.items()})
            for i, row in enumerate(rows)
        }
        ours = decide(m, ballots, Rule.MAJORITY).rules
        theirs = oracle.grades(rows, list(range(11)))
        approved = oracle.grades([{c: int(g >= 6) for c, g in row.items()} for row in rows], [0, 1])
        assert ours["score"].winners == ids(oracle.score(theirs)), rows
        assert ours["approval"].winners == ids(oracle.approval(approved)), rows
        assert set(ours["median"].winners) <= set(ids(oracle.median(theirs))), rows


@pytest.mark.parametrize("partial", [False, True], ids=["complete", "partial"])
def test_scores_agree_with_pref_voting(oracle: SimpleNamespace, partial: bool) -> None:
    for seed in range(300, 400):
        m, rankings = random_rankings(seed, partial=partial)
        theirs = oracle_profile(oracle, m, rankings)
        ours = decide(m, cast(rankings), Rule.MAJORITY).rules
        # A symmetric Borda score is (rivals below - rivals above); ours is the points (m-1)/2 around which it swings.
        points = {f"o{c}": (len(rankings) * (m - 1) + score) / 2 for c, score in oracle.borda(theirs).items()}
        assert ours["borda"].scores == pytest.approx(points)
        assert ours["plurality"].scores == {f"o{c}": n for c, n in theirs.plurality_scores().items()}
