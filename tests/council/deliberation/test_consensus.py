"""Decisions: ties, what no renaming may change, open answers, agreement."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council.deliberation import ballots as balloting
from council.deliberation import rules
from council.deliberation.agreement import concordance, kendall_w, modal_share
from council.deliberation.consensus import VERSION, elect, tally
from council.deliberation.rules import Preference
from council.deliberation.types import Answer, Ballot, Rule, Tally
from tests.council.deliberation.elections import Profile, decide, elections, favourites, options, profile


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


# --- versions ---------------------------------------------------------------------------------------------------------

FOUR_RULES = """
{"candidates": [{"id": "o1", "text": "Yes", "option": "Yes", "seats": ["s0", "s2"]},
                {"id": "o2", "text": "No", "option": "No", "seats": ["s1"]}],
 "winner": "o1", "decided_by": "schulze",
 "rules": {"plurality": {"winners": ["o1"], "scores": {"o1": 2.0, "o2": 1.0}},
           "majority": {"winners": ["o1"], "scores": {"o1": 2.0, "o2": 1.0}},
           "borda": {"winners": ["o1"], "scores": {"o1": 2.0, "o2": 1.0}},
           "schulze": {"winners": ["o1"], "scores": {"o1": 1.0, "o2": 0.0}}},
 "margin": 1, "too_close": true, "voters": 3, "abstentions": 0,
 "agreement": {"modal_share": 0.6666666666666666, "positions": {"s0": "o1", "s1": "o2", "s2": "o1"}, "kendall_w": 0.1111111111111111}}
"""


def test_a_tally_stored_when_there_were_four_rules_is_counted_again_as_it_was() -> None:
    stored = Tally.model_validate_json(FOUR_RULES)
    cast = {f"s{i}": Ballot(ranking=order) for i, order in enumerate([("o1", "o2"), ("o2", "o1"), ("o1", "o2")])}

    def count(version: int) -> Tally:
        return tally(stored.candidates, stored.agreement.positions, cast, Rule.SCHULZE, 5, {}, version)

    assert stored.version == 1
    assert count(stored.version) == stored
    assert set(count(VERSION).rules) == set(Rule)


def test_the_short_way_to_a_winner_finds_the_same() -> None:
    for rule in Rule:
        ballots = profile("012", "120", "102", "")
        given: tuple[Any, ...] = (options(3), favourites(ballots), ballots, rule, 3, {})
        assert elect(*given) == tally(*given).winner


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
    """A whole ballot over open answers: seat i answers ``texts[i]`` and ranks and scores what it is shown in the order of
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
        ranking = tuple(sorted(order, key=places.__getitem__))
        cast[seat] = Ballot(ranking=ranking, scores={text: max(0, 10 - 5 * n) for n, text in enumerate(ranking)})
    mapped = balloting.to_cluster_ballots(cast, clusters, balloting.own_clusters(own, clusters))
    return tally(candidates, balloting.candidate_of(candidates), mapped, rule, 7, {})


def own_first(own: str, shown: list[str]) -> list[str]:
    return sorted(shown, key=lambda text: (text != own, text))


QUALIFIED = {Rule.TWO_THIRDS, Rule.UNANIMITY}


@pytest.mark.parametrize("rule", [rule for rule in Rule if rule not in QUALIFIED])
@pytest.mark.parametrize("texts", ["AAAB", "BAAA", "AABA", "AAB", "AAABC", "AAAABBC"])
def test_three_seats_with_one_answer_do_not_lose_to_one(texts: str, rule: Rule) -> None:
    result = open_vote(texts, own_first, rule)
    winner = next(candidate for candidate in result.candidates if candidate.id == result.winner)
    assert (winner.text, result.decided_by) == ("A", rule.value)


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("texts", ["AAAB", "AABC", "ABCD", "AAAABBC"])
def test_what_an_author_thinks_of_its_own_answer_decides_nothing(texts: str, rule: Rule) -> None:
    """Whoever is alone with an answer may love or loathe it: the count is the same."""

    def taste(own: str, shown: list[str], place: int) -> list[str]:
        rest = sorted(text for text in shown if text != own)
        return rest if texts.count(own) > 1 else [*rest[:place], own, *rest[place:]]

    def vote(place: int) -> Tally:
        return open_vote(texts, lambda own, shown: [*taste(own, shown, place), *shown], rule)

    fond, modest = vote(0), vote(len(texts))
    assert fond.model_dump(exclude={"rules"}) == modest.model_dump(exclude={"rules"})
    assert {k: r.winners for k, r in fond.rules.items()} == {k: r.winners for k, r in modest.rules.items()}


@given(
    st.integers(2, 5), st.integers(0, 10), st.integers(0, 9), st.sampled_from([Rule.SCORE, Rule.APPROVAL, Rule.BORDA])
)
def test_a_voter_cannot_lift_its_own_answer_by_putting_others_down(m: int, score: int, seed: int, rule: Rule) -> None:
    """One score for all that it was shown moves nobody against anybody, however low it is."""
    rng = random.Random(seed)
    others = profile(*("".join(map(str, rng.sample(range(m), m))) for _ in range(3)))
    others = {
        seat: b.model_copy(update={"scores": {c: rng.randint(0, 10) for c in b.ranking}}) for seat, b in others.items()
    }
    shown = [f"o{c}" for c in range(1, m)]
    author = Ballot(ranking=tuple(shown[:1]), scores=dict.fromkeys(shown, score), unseen=("o0",))
    if rule is Rule.BORDA and m > 2:
        author = author.model_copy(update={"ranking": tuple(shown)})
        points = decide(m, {"a": author}, Rule.MAJORITY).rules["borda"].scores
        assert points["o0"] == pytest.approx(sum(points[c] for c in shown) / len(shown))
        return
    with_author = decide(m, others | {"a": author}, Rule.MAJORITY).rules[rule.value].winners
    assert with_author == decide(m, others, Rule.MAJORITY).rules[rule.value].winners


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
