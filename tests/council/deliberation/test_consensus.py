"""Rules against an independent oracle and the literature; ties, margins, agreement; what no renaming may change."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, permutations, product
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council.deliberation import ballots as balloting
from council.deliberation import margin, rules
from council.deliberation.consensus import concordance, kendall_w, modal_share, tally
from council.deliberation.rules import Preference
from council.deliberation.types import Answer, Ballot, Candidate, Rule, Tally

Profile = dict[str, Ballot]


def options(m: int) -> tuple[Candidate, ...]:
    return tuple(Candidate(id=f"o{i}", text=f"option {i}", option=f"option {i}") for i in range(m))


def profile(*rankings: str) -> Profile:
    """One ballot for each string; "201" ranks o2, o0, o1; "" abstains."""
    return {
        f"s{n}": Ballot(ranking=tuple(f"o{c}" for c in ranking), abstain=not ranking)
        for n, ranking in enumerate(rankings)
    }


def favourites(ballots: Profile) -> dict[str, str]:
    return {seat: ballot.ranking[0] for seat, ballot in ballots.items() if ballot.ranking}


def decide(m: int, ballots: Profile, rule: Rule = Rule.SCHULZE, seed: int = 0) -> Tally:
    return tally(options(m), favourites(ballots), ballots, rule, seed, {})


@st.composite
def elections(draw: st.DrawFn, max_m: int = 4, max_n: int = 6) -> tuple[int, Profile]:
    """Ballots of any length, abstentions and scores included."""
    m = draw(st.integers(1, max_m))
    cast = draw(st.lists(st.tuples(st.permutations(range(m)), st.integers(0, m)), max_size=max_n))
    ballots = profile(*("".join(map(str, order[:length])) for order, length in cast))
    scores = st.dictionaries(st.sampled_from([f"o{i}" for i in range(m)]), st.integers(0, 10))
    return m, {s: b if b.abstain else b.model_copy(update={"scores": draw(scores)}) for s, b in ballots.items()}


# --- an independent oracle --------------------------------------------------------------------------------------------


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


# --- deciding ---------------------------------------------------------------------------------------------------------


def test_majority_counts_positions_not_ballots() -> None:
    ballots = profile("10", "10", "10")
    held = {"s0": "o0", "s1": "o0", "s2": "o1"}
    assert tally(options(2), held, ballots, Rule.MAJORITY, 0, {}).winner == "o0"


def test_half_is_no_majority_and_elects_nobody() -> None:
    result = tally(options(2), {"s0": "o0", "s1": "o1"}, None, Rule.MAJORITY, 0, {})
    assert (result.winner, result.decided_by) == (None, "")


def test_a_tie_of_first_choices_falls_to_borda() -> None:
    result = decide(3, profile("012", "012", "102", "120"), Rule.PLURALITY)
    assert (result.winner, result.decided_by) == ("o1", "borda")


def test_a_tie_of_borda_points_falls_to_the_median_score() -> None:
    ballots = profile("01", "10")
    ballots["s0"] = Ballot(ranking=("o0", "o1"), scores={"o0": 7, "o1": 6})
    ballots["s1"] = Ballot(ranking=("o1", "o0"), scores={"o0": 3, "o1": 8})
    result = decide(2, ballots)
    assert (result.winner, result.decided_by) == ("o1", "median_score")


def test_a_scored_candidate_goes_before_an_unscored_one() -> None:
    ballots = profile("01", "10")
    ballots["s0"] = Ballot(ranking=("o0", "o1"), scores={"o0": 0})
    assert decide(2, ballots).winner == "o0"


def test_without_ballots_confidence_breaks_a_tie() -> None:
    held = {"s0": "o0", "s1": "o1"}
    result = tally(options(2), held, None, Rule.SCHULZE, 0, {"s0": 0.4, "s1": 0.9})
    assert (result.winner, result.decided_by) == ("o1", "median_score")


def test_a_seeded_decision_reads_too_close() -> None:
    assert decide(2, profile("01", "10")).too_close


@pytest.mark.parametrize("rule", list(Rule))
def test_nobody_is_elected_when_all_abstain(rule: Rule) -> None:
    result = decide(3, profile("", "", ""), rule)
    assert (result.winner, result.voters, result.abstentions) == (None, 3, 3)


@pytest.mark.parametrize("rule", list(Rule))
def test_an_empty_round_counts_to_nothing(rule: Rule) -> None:
    result = tally((), {}, None, rule, 0, {})
    assert (result.winner, result.margin, result.agreement.modal_share, result.too_close) == (None, None, 0.0, False)


def test_an_unknown_candidate_is_an_error() -> None:
    with pytest.raises(balloting.BallotError):
        decide(2, profile("02"))
    with pytest.raises(ValueError, match="unknown candidates: o9"):
        tally(options(2), {"s0": "o9"}, None, Rule.BORDA, 0, {})


# --- what must not matter ---------------------------------------------------------------------------------------------


def outcome(result: Tally) -> dict[str, Any]:
    data = result.model_dump(mode="json")
    del data["agreement"]["positions"]
    return data


@given(elections(), st.sampled_from(Rule), st.integers(0, 9), st.randoms(use_true_random=False))
def test_names_and_order_of_seats_change_nothing(
    election: tuple[int, Profile], rule: Rule, seed: int, rng: random.Random
) -> None:
    m, ballots = election
    names = [f"z{i}" for i in range(len(ballots))]
    rng.shuffle(names)
    renamed = dict(zip(names, ballots.values(), strict=True))
    shuffled = dict(sorted(renamed.items()))
    assert outcome(decide(m, ballots, rule, seed)) == outcome(decide(m, shuffled, rule, seed))


@given(elections(), st.sampled_from(Rule), st.randoms(use_true_random=False))
def test_order_of_candidates_changes_nothing(election: tuple[int, Profile], rule: Rule, rng: random.Random) -> None:
    m, ballots = election
    standing = rng.sample(options(m), m)
    shuffled = tally(standing, favourites(ballots), ballots, rule, 5, {})
    assert shuffled.model_copy(update={"candidates": options(m)}) == decide(m, ballots, rule, seed=5)


@given(elections(), st.sampled_from(Rule), st.booleans())
def test_a_tally_survives_json_and_a_recount_gives_it_again(
    election: tuple[int, Profile], rule: Rule, with_ballots: bool
) -> None:
    m, ballots = election
    confidences = dict.fromkeys(ballots, 0.3)
    given = (options(m), favourites(ballots), ballots if with_ballots else None, rule, 3, confidences)
    stored = json.loads(json.dumps(tally(*given).model_dump(mode="json")))
    assert Tally.model_validate(stored) == tally(*given)


# --- open answers: clusters and withheld texts ------------------------------------------------------------------------


def open_vote(texts: str, favour: Callable[[str, list[str]], list[str]], rule: Rule) -> Tally:
    """A whole ballot over open answers: seat i answers ``texts[i]`` and ranks what it is shown in the order of
    ``favour(its own answer, all answers)``."""
    answers = {f"s{i}": Answer(answer=text) for i, text in enumerate(texts)}
    candidates, shown = balloting.build_candidates((), answers), balloting.texts_for_ballot((), answers)
    text_of = {text.id: text.text for text in shown}
    own, clusters = balloting.own_texts(shown), balloting.text_clusters(shown, candidates)
    orders = balloting.presentation_orders(tuple(answers), tuple(text_of), 1, own)
    cast = {}
    for seat, order in orders.items():
        taste = favour(answers[seat].answer, list(text_of.values()))
        places = {text: taste.index(text_of[text]) for text in order}
        cast[seat] = Ballot(ranking=tuple(sorted(order, key=places.__getitem__)))
    mapped = balloting.to_cluster_ballots(cast, clusters, balloting.own_clusters(own, clusters))
    return tally(candidates, balloting.candidate_of(candidates), mapped, rule, 7, {})


def own_first(own: str, shown: list[str]) -> list[str]:
    return sorted(shown, key=lambda text: (text != own, text))


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("texts", ["AAAB", "BAAA", "AABA", "AAB", "AAABC", "AAAABBC"])
def test_three_seats_with_one_answer_do_not_lose_to_one(texts: str, rule: Rule) -> None:
    result = open_vote(texts, own_first, rule)
    winner = next(candidate for candidate in result.candidates if candidate.id == result.winner)
    assert (winner.text, result.decided_by) == ("A", rule.value)


@pytest.mark.parametrize("rule", [Rule.PLURALITY, Rule.BORDA, Rule.SCHULZE])
def test_whoever_is_alone_with_an_answer_can_still_be_convincing(rule: Rule) -> None:
    result = open_vote("AAAB", lambda _, shown: sorted(shown, reverse=True), rule)
    assert next(c.text for c in result.candidates if c.id == result.winner) == "B"


def test_a_withheld_candidate_is_missing_data_not_a_low_rank() -> None:
    shown_two_of_three = rules.contribution(Preference(ranking=(2, 0), shown=(0, 2)), 3)
    points = [value / rules.scale(3) for value in rules.borda(shown_two_of_three, 3)]
    assert points == [0, 1, 2]
    assert shown_two_of_three[1 + 2 * 3 :] == (0, 0, 0, 0, 0, 0, 1, 0, 0)


def test_a_voter_who_was_shown_one_text_has_no_choice_and_decides_nothing() -> None:
    forced = rules.contribution(Preference(ranking=(0,), shown=(0,)), 2)
    assert rules.firsts(forced, 2) == (0, 0)
    assert len(set(rules.borda(forced, 2))) == 1
    assert not any(forced[1 + 2 * 2 :])


@given(elections(), st.data())
def test_every_ballot_hands_out_the_same_borda_points(election: tuple[int, Profile], data: st.DataObject) -> None:
    m, ballots = election
    withheld = data.draw(st.sets(st.integers(0, m - 1), max_size=m - 1))
    shown = tuple(i for i in range(m) if i not in withheld)
    for ballot in ballots.values():
        ranking = tuple(i for i in (int(c[1:]) for c in ballot.ranking) if i in shown)
        if ranking:
            points = rules.borda(rules.contribution(Preference(ranking, shown), m), m)
            assert sum(points) == rules.scale(m) * m * (m - 1) / 2


# --- margin -----------------------------------------------------------------------------------------------------------


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


# --- agreement --------------------------------------------------------------------------------------------------------


def test_modal_share_is_of_seats_with_a_position() -> None:
    assert modal_share({"s0": "o0", "s1": "o0", "s2": "o1"}) == 2 / 3
    assert modal_share({}) == 0.0


def test_identical_ballots_agree_fully_and_opposite_ones_not_at_all() -> None:
    assert kendall_w(profile("0123", "0123", "0123")) == 1
    assert kendall_w(profile("0123", "3210")) == 0


def test_concordance_agrees_with_friedmans_statistic() -> None:
    """W = χ² / (k (n - 1)); scipy corrects χ² for ties on its own."""
    from scipy.stats import friedmanchisquare, rankdata  # type: ignore[import-untyped]  # comes with pref_voting, untyped

    rng = random.Random(3)
    for _ in range(50):
        n, k = rng.randint(3, 6), rng.randint(3, 7)
        scores = [[rng.randint(0, 4) for _ in range(n)] for _ in range(k)]
        if any(len(set(row)) > 1 for row in scores):
            statistic = friedmanchisquare(*zip(*scores, strict=True)).statistic
            assert concordance([list(rankdata(row)) for row in scores]) == pytest.approx(statistic / (k * (n - 1)))


def test_concordance_ranges_over_candidates_withheld_from_nobody() -> None:
    ballots = profile("012", "012")
    ballots["s2"] = Ballot(ranking=("o1", "o0"), unseen=("o2",))
    assert kendall_w(ballots) == pytest.approx(1 / 9)


def test_what_a_ballot_leaves_out_is_tied_at_its_end() -> None:
    """Ranks 1, 2.5, 2.5 and 1, 2, 3: S = 6.5 and ΣT = 6, so W = 78 / 84."""
    assert kendall_w(profile("0", "012")) == pytest.approx(78 / 84)


@pytest.mark.parametrize("cast", [(), ("012",), ("0", "0"), ("012", "")])
def test_concordance_needs_two_ballots_and_two_candidates(cast: tuple[str, ...]) -> None:
    assert kendall_w(profile(*cast)) is None
