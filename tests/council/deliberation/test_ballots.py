"""Candidates, texts, presentation orders and the checking and mapping of ballots."""

from __future__ import annotations

from collections import Counter
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from council.deliberation.ballots import (
    BallotError,
    build_candidates,
    candidate_of,
    check_ballot,
    normalise,
    own_clusters,
    own_texts,
    presentation_orders,
    text_clusters,
    texts_for_ballot,
    to_cluster_ballots,
)
from council.deliberation.types import Answer, Ballot

OPTIONS = ("Yes", "No", "Later")


def says(**texts: str) -> dict[str, Answer]:
    return {seat: Answer(answer=text) for seat, text in texts.items()}


def chooses(**options: str | None) -> dict[str, Answer]:
    return {seat: Answer(answer="because", option=option) for seat, option in options.items()}


# --- normalisation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["ship it", "  Ship\n it. ", "SHIP IT!?", "ＳＨＩＰ it…"])
def test_wording_that_differs_in_form_only_is_the_same(other: str) -> None:
    assert normalise(other) == normalise("Ship it.")


@pytest.mark.parametrize(("one", "other"), [("C", "C#"), ("C", "C++"), ("100", "100 %"), ("no", "not")])
def test_signs_with_a_meaning_are_kept(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_an_answer_of_punctuation_alone_is_still_something() -> None:
    assert normalise(" ?! ") == "?!"


# --- candidates -------------------------------------------------------------------------------------------------------


def test_closed_candidates_are_the_options_in_their_order() -> None:
    candidates = build_candidates(OPTIONS, chooses(b="Yes", a="yes", c="Later"))
    assert [(c.id, c.option, c.seats) for c in candidates] == [
        ("o1", "Yes", ("a", "b")),
        ("o2", "No", ()),
        ("o3", "Later", ("c",)),
    ]


@pytest.mark.parametrize("option", [None, "Maybe"])
def test_a_seat_that_names_no_option_holds_none(option: str | None) -> None:
    assert candidate_of(build_candidates(OPTIONS, chooses(a=option, b="No"))) == {"b": "o2"}


def test_open_answers_that_are_the_same_are_one_candidate() -> None:
    candidates = build_candidates((), says(a="Ship it.", b="ship it", c="Wait"))
    assert sorted(c.seats for c in candidates) == [("a", "b"), ("c",)]
    assert [c.id for c in candidates] == ["a1", "a2"]


@given(st.lists(st.sampled_from(["Ship it", "ship it.", "Wait", "Ask"]), min_size=1, max_size=6))
def test_ids_and_wording_do_not_depend_on_who_sits_where(texts: list[str]) -> None:
    seats = [f"s{i}" for i in range(len(texts))]
    shuffled = list(reversed(seats))
    one = build_candidates((), {s: Answer(answer=t) for s, t in zip(seats, texts, strict=True)})
    other = build_candidates((), {s: Answer(answer=t) for s, t in zip(shuffled, texts, strict=True)})
    assert [(c.id, c.text) for c in one] == [(c.id, c.text) for c in other]


def test_ids_are_kept_through_a_run_and_never_given_twice() -> None:
    first = build_candidates((), says(a="Ship it", b="Wait"))
    second = build_candidates((), says(a="wait.", b="Ask"), earlier=first)
    before, after = ({normalise(c.text): c.id for c in stage} for stage in (first, second))
    assert after["wait"] == before["wait"]
    assert after["ask"] == "a3"


# --- texts and what is withheld ---------------------------------------------------------------------------------------


def test_only_a_text_that_nobody_else_holds_is_withheld() -> None:
    texts = texts_for_ballot((), says(a="A", b="A", c="A", d="B"))
    alone = next(text.id for text in texts if text.text == "B")
    assert own_texts(texts) == {"d": {alone}}


def test_options_are_withheld_from_nobody() -> None:
    texts = texts_for_ballot(OPTIONS, chooses(a="Yes", b="No"))
    assert [text.id for text in texts] == ["o1", "o2", "o3"]
    assert own_texts(texts) == {}


def test_texts_belong_to_the_candidate_that_their_seats_hold() -> None:
    answers = says(a="A", b="a.", c="B")
    texts, candidates = texts_for_ballot((), answers), build_candidates((), answers)
    clusters = text_clusters(texts, candidates)
    assert {text.seats: clusters[text.id] for text in texts} == {c.seats: c.id for c in candidates}


def test_a_cluster_with_somebody_elses_text_is_not_withheld() -> None:
    """As merging by meaning will make them: t1 and t2 in one cluster."""
    clusters = {"t1": "a1", "t2": "a1", "t3": "a2"}
    assert own_clusters({"a": {"t1"}, "c": {"t3"}}, clusters) == {"a": set(), "c": {"a2"}}


def test_texts_of_options_map_to_themselves() -> None:
    options = build_candidates(OPTIONS, {})
    assert text_clusters(options, options) == {"o1": "o1", "o2": "o2", "o3": "o3"}


# --- presentation orders ----------------------------------------------------------------------------------------------

sizes = st.tuples(st.integers(1, 14), st.integers(1, 6), st.integers(0, 99))


def orders(n: int, m: int, seed: int, own: dict[str, set[str]] | None = None) -> dict[str, tuple[str, ...]]:
    return presentation_orders([f"v{i}" for i in range(n)], [f"o{i}" for i in range(m)], seed, own or {})


def places(dealt: dict[str, tuple[str, ...]]) -> Counter[tuple[str, int]]:
    return Counter((item, place) for order in dealt.values() for place, item in enumerate(order))


@given(sizes)
def test_every_item_stands_in_every_place_equally_often_give_or_take_one(size: tuple[int, int, int]) -> None:
    n, m, seed = size
    seen = places(orders(n, m, seed))
    times = [seen[f"o{i}", place] for i in range(m) for place in range(m)]
    assert max(times) - min(times) <= 1


@given(sizes)
def test_orders_are_distinct_while_there_are_enough(size: tuple[int, int, int]) -> None:
    n, m, seed = size
    dealt = orders(n, m, seed)
    assert len(set(dealt.values())) == min(n, factorial(m))


def test_every_order_is_used_before_one_comes_again() -> None:
    assert set(Counter(orders(48, 4, 1).values()).values()) == {2}


@given(sizes, st.data())
def test_withholding_ones_own_text_keeps_all_places_but_the_last_balanced(
    size: tuple[int, int, int], data: st.DataObject
) -> None:
    n, m, seed = size
    alone = data.draw(st.permutations(range(n)))[: data.draw(st.integers(0, min(n, m)))]
    own = {f"v{voter}": {f"o{item}"} for item, voter in enumerate(alone)}
    seen = places(orders(n, m, seed, own))
    times = [seen[f"o{i}", place] for i in range(m) for place in range(m - 1)]
    assert max(times, default=0) - min(times, default=0) <= 1


@given(sizes)
def test_nobody_reads_what_is_withheld(size: tuple[int, int, int]) -> None:
    n, m, seed = size
    own = {f"v{i}": {"o0", f"o{i}"} for i in range(n)}
    for voter, order in orders(n, m, seed, own).items():
        assert set(order) == {f"o{i}" for i in range(m)} - own[voter]


def test_the_seed_changes_the_orders_and_names_do_not() -> None:
    assert orders(5, 5, 1) != orders(5, 5, 2)
    renamed = presentation_orders(["wa", "wb", "wc"], ["o0", "o1", "o2"], 1, {})
    assert list(renamed.values()) == list(orders(3, 3, 1).values())


def test_the_order_of_arguments_does_not_matter() -> None:
    assert presentation_orders(["b", "a"], ["y", "x"], 1, {}) == presentation_orders(["a", "b"], ["x", "y"], 1, {})


def test_the_draw_is_the_same_on_every_machine_and_version() -> None:
    """A stored seed must show a later reader what a voter saw."""
    assert orders(2, 3, 42) == {"v0": ("o1", "o0", "o2"), "v1": ("o0", "o2", "o1")}


def test_no_items_and_no_voters_are_no_trouble() -> None:
    assert presentation_orders(["a"], [], 1, {}) == {"a": ()}
    assert presentation_orders([], ["x"], 1, {}) == {}


# --- checking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ballot", "code"),
    [
        (Ballot(ranking=("o1", "o9")), "unknown_candidate"),
        (Ballot(ranking=("o1",), scores={"o9": 3}), "unknown_candidate"),
        (Ballot(ranking=("o1",), unseen=("o1",)), "unknown_candidate"),
        (Ballot(ranking=("o1", "o1")), "repeated_candidate"),
        (Ballot(ranking=("o1",), scores={"o1": 11}), "bad_score"),
        (Ballot(ranking=("o1",), scores={"o1": -1}), "bad_score"),
        (Ballot(ranking=("o1",), abstain=True), "abstained_and_voted"),
        (Ballot(scores={"o1": 4}), "empty"),
        (Ballot(), "empty"),
    ],
)
def test_a_ballot_that_cannot_be_counted_is_refused(ballot: Ballot, code: str) -> None:
    with pytest.raises(BallotError) as refused:
        check_ballot(ballot, {"o1", "o2"})
    assert refused.value.code == code


@pytest.mark.parametrize(
    "ballot", [Ballot(ranking=("o2", "o1"), scores={"o1": 0, "o2": 10}), Ballot(ranking=("o2",)), Ballot(abstain=True)]
)
def test_a_good_ballot_comes_back_as_it_is(ballot: Ballot) -> None:
    assert check_ballot(ballot, {"o1", "o2"}) is ballot


# --- mapping ----------------------------------------------------------------------------------------------------------


def test_a_cluster_stands_where_its_best_ranked_text_stands() -> None:
    clusters = {"t1": "a1", "t2": "a2", "t3": "a1", "t4": "a3"}
    ballot = Ballot(ranking=("t4", "t3", "t2", "t1"), scores={"t1": 2, "t3": 6, "t4": 9})
    mapped = to_cluster_ballots({"s": ballot}, clusters, {})["s"]
    assert mapped == Ballot(ranking=("a3", "a1", "a2"), scores={"a1": 6, "a3": 9})


def test_what_was_withheld_is_recorded_as_unseen() -> None:
    mapped = to_cluster_ballots({"s": Ballot(ranking=("t2",))}, {"t1": "a1", "t2": "a2"}, {"s": {"a1"}})
    assert mapped["s"] == Ballot(ranking=("a2",), unseen=("a1",))


def test_an_abstention_stays_one() -> None:
    assert to_cluster_ballots({"s": Ballot(abstain=True)}, {"t1": "a1"}, {})["s"].abstain


@pytest.mark.parametrize("text", ["t9", "t1"], ids=["unknown text", "own text"])
def test_a_vote_for_what_was_not_on_the_ballot_is_refused(text: str) -> None:
    with pytest.raises(BallotError):
        to_cluster_ballots({"s": Ballot(ranking=(text,))}, {"t1": "a1", "t2": "a2"}, {"s": {"a1"}})
