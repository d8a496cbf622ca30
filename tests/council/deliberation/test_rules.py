"""What is known of the rules: textbook paradoxes, and properties that theory promises or denies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def winners(m: int, ballots: Profile, rule: Rule) -> set[str]:
    """Of one rule; positions are the first choices."""
    return set(decide(m, ballots, Rule.MAJORITY).rules[rule.value].winners)


def test_condorcets_paradox_majorities_go_round_in_a_circle() -> None:
    """Each option loses to another by 2 to 1; 2 of 3 would rather have something else than whatever is chosen."""
    result = decide(3, profile("012", "120", "201"), Rule.MAJORITY)
    assert result.winner is None
    for rule in (Rule.SCHULZE, Rule.RANKED_PAIRS, Rule.BORDA, Rule.IRV):
        assert set(result.rules[rule.value].winners) == {"o0", "o1", "o2"}


def test_tennessee_under_every_rule() -> None:
    found = decide(4, TENNESSEE).rules
    assert {name: set(found[name].winners) for name in ("plurality", "borda", "schulze", "ranked_pairs", "irv")} == {
        "plurality": {"o0"},  # Memphis: the largest bloc, and last with everybody else
        "borda": {"o1"},
        "schulze": {"o1"},
        "ranked_pairs": {"o1"},  # Nashville beats every other city
        "irv": {"o3"},  # Knoxville: Chattanooga goes out first, Nashville second
    }


def test_clones_help_their_side_under_borda_and_not_under_ranked_pairs() -> None:
    """Three of five prefer o0 to o1. A second o1 that nobody likes better (o2) makes o1 win by Borda."""
    alone, cloned = repeated((3, "01"), (2, "10")), repeated((3, "012"), (2, "120"))
    assert winners(2, alone, Rule.BORDA) == {"o0"}
    assert winners(3, cloned, Rule.BORDA) == {"o1"}
    for rule in (Rule.SCHULZE, Rule.RANKED_PAIRS, Rule.IRV):
        assert winners(2, alone, rule) == winners(3, cloned, rule) == {"o0"}


def test_a_clone_splits_the_vote_under_plurality() -> None:
    assert winners(2, repeated((3, "01"), (2, "10")), Rule.PLURALITY) == {"o0"}
    assert winners(3, repeated((2, "021"), (1, "201"), (2, "102")), Rule.PLURALITY) == {"o0", "o1"}
    assert winners(3, repeated((3, "021"), (3, "201"), (4, "102")), Rule.PLURALITY) == {"o1"}


def test_a_loser_that_leaves_turns_bordas_order_round() -> None:
    """Independence of irrelevant alternatives fails: without o2, which is last, o0 goes before o1."""
    assert winners(3, repeated((3, "012"), (2, "120")), Rule.BORDA) == {"o1"}
    assert winners(2, repeated((3, "01"), (2, "10")), Rule.BORDA) == {"o0"}


def test_more_support_can_lose_an_instant_runoff() -> None:
    """Not monotone: o1 wins; two who put it second now put it first, and o2 wins."""
    others = (4, "021"), (1, "102"), (5, "120"), (2, "201"), (3, "210")
    before, after = repeated((2, "012"), *others), repeated((2, "102"), *others)
    assert winners(3, before, Rule.IRV) == {"o1"}
    assert winners(3, after, Rule.IRV) == {"o2"}
    for rule in (Rule.SCHULZE, Rule.RANKED_PAIRS, Rule.BORDA, Rule.PLURALITY):
        assert winners(3, before, rule) != {"o1"} or winners(3, after, rule) == {"o1"}


def test_staying_at_home_can_pay_under_instant_runoff() -> None:
    """No-show: two who rank o1 last make it win by voting; had they stayed at home, o2 would have won."""
    others = (1, "102"), (3, "120"), (1, "201"), (2, "210")
    assert winners(3, repeated((4, "021"), *others), Rule.IRV) == {"o1"}
    assert winners(3, repeated((2, "021"), *others), Rule.IRV) == {"o2"}


def test_the_median_can_pass_over_whom_all_but_one_prefer() -> None:
    """Majority judgement is no Condorcet rule: two of three prefer o0, o1 has the better median."""
    ballots = {
        "s0": Ballot(ranking=("o0", "o1"), scores={"o0": 10, "o1": 9}),
        "s1": Ballot(ranking=("o0", "o1"), scores={"o0": 4, "o1": 3}),
        "s2": Ballot(ranking=("o1", "o0"), scores={"o0": 0, "o1": 9}),
    }
    assert winners(2, ballots, Rule.SCHULZE) == {"o0"}
    assert winners(2, ballots, Rule.MEDIAN) == {"o1"}


def test_one_enthusiast_can_outvote_a_majority_by_score_and_not_by_median() -> None:
    ballots = {
        "s0": Ballot(ranking=("o0", "o1"), scores={"o0": 6, "o1": 5}),
        "s1": Ballot(ranking=("o0", "o1"), scores={"o0": 6, "o1": 5}),
        "s2": Ballot(ranking=("o1", "o0"), scores={"o0": 0, "o1": 10}),
    }
    assert winners(2, ballots, Rule.SCORE) == {"o1"}
    assert winners(2, ballots, Rule.MEDIAN) == winners(2, ballots, Rule.APPROVAL) == {"o0"}


# --- approvals and positions ------------------------------------------------------------------------------------------


def test_six_approves_and_five_does_not() -> None:
    ballots = {"s0": Ballot(ranking=("o0", "o1"), scores={"o0": 5, "o1": 6})}
    assert decide(2, ballots).rules["approval"].scores == {"o0": 0, "o1": 1}


def test_a_ballot_without_scores_approves_its_first_choice() -> None:
    assert decide(3, profile("120")).rules["approval"].scores == {"o0": 0, "o1": 1, "o2": 0}


def test_without_any_score_the_score_rules_tie_and_borda_decides() -> None:
    result = decide(3, profile("120", "102"), Rule.SCORE)
    assert (result.winner, result.decided_by) == ("o1", "borda")


@pytest.mark.parametrize(
    ("held", "elected"),
    [
        ("0001", {"majority", "two_thirds"}),
        ("001", {"majority", "two_thirds"}),
        ("00011", {"majority"}),
        ("000", {"majority", "two_thirds", "unanimity"}),
        ("01", set()),
    ],
)
def test_shares_of_final_positions(held: str, elected: set[str]) -> None:
    found = decide(2, profile(*held)).rules
    assert {name for name in ("majority", "two_thirds", "unanimity") if found[name].winners} == elected


# --- properties -------------------------------------------------------------------------------------------------------

RANKINGS = [Rule.PLURALITY, Rule.BORDA, Rule.SCHULZE, Rule.RANKED_PAIRS, Rule.IRV]


@given(elections())
def test_schulze_and_ranked_pairs_elect_the_condorcet_winner(election: tuple[int, Profile]) -> None:
    m, ballots = election
    beats_all = condorcet_winners(m, ballots)
    if beats_all and any(ballot.ranking for ballot in ballots.values()):
        assert winners(m, ballots, Rule.SCHULZE) == winners(m, ballots, Rule.RANKED_PAIRS) == beats_all


def condorcet_winners(m: int, ballots: Profile) -> set[str]:
    ids = [f"o{i}" for i in range(m)]

    def prefers(ballot: Ballot, a: str, b: str) -> int:
        rank = {c: place for place, c in enumerate(ballot.ranking)}
        return (rank.get(a, m) < rank.get(b, m)) - (rank.get(a, m) > rank.get(b, m))

    return {a for a in ids if all(sum(prefers(v, a, b) for v in ballots.values()) > 0 for b in ids if b != a)}


@given(elections(), st.data())
def test_raising_a_winner_never_makes_it_lose(election: tuple[int, Profile], data: st.DataObject) -> None:
    """Monotonicity of everything but instant runoff."""
    m, ballots = election
    voting = [seat for seat, ballot in ballots.items() if ballot.ranking]
    if not voting:
        return
    seat = data.draw(st.sampled_from(voting))
    rule = data.draw(st.sampled_from([*RANKINGS[:4], Rule.SCORE, Rule.MEDIAN, Rule.APPROVAL]))
    for winner in winners(m, ballots, rule):
        raised = ballots | {seat: lifted(ballots[seat], winner, data.draw(st.integers(0, m)))}
        assert winner in winners(m, raised, rule)


def lifted(ballot: Ballot, candidate: str, place: int) -> Ballot:
    """The same, with ``candidate`` at ``place`` or where it was if that is better, and with a higher score."""
    if candidate not in ballot.ranking:
        return ballot.model_copy(update={"ranking": (*ballot.ranking, candidate)})
    others = [c for c in ballot.ranking if c != candidate]
    others.insert(min(place, ballot.ranking.index(candidate)), candidate)
    scores = {**ballot.scores, candidate: 10} if candidate in ballot.scores else ballot.scores
    return ballot.model_copy(update={"ranking": tuple(others), "scores": scores})


@given(elections(), st.permutations(range(4)))
def test_renaming_candidates_renames_winners(election: tuple[int, Profile], names: list[int]) -> None:
    """Neutrality: before ties are broken by lot, no rule knows one candidate from another."""
    m, ballots = election
    new = dict(zip((f"o{c}" for c in range(m)), (f"o{c}" for c in names if c < m), strict=True))
    renamed = {
        seat: b.model_copy(
            update={
                "ranking": tuple(new[c] for c in b.ranking),
                "scores": {new[c]: score for c, score in b.scores.items()},
            }
        )
        for seat, b in ballots.items()
    }
    before, after = decide(m, ballots, Rule.MAJORITY).rules, decide(m, renamed, Rule.MAJORITY).rules
    for name, result in before.items():
        assert {new[c] for c in result.winners} == set(after[name].winners)
        assert {new[c]: score for c, score in result.scores.items()} == after[name].scores
