"""Which open answers are one, by recorded scores; and what was measured of the rule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from council.deliberation.ballots import build_candidates, normalise
from council.deliberation.merging import compare, distinct, every_pair, kept_apart, key, representatives, undo, undone
from council.deliberation.types import MERGE_AT, Answer, Merging
from knowledge.embeddings import built_in
from tests.council.merging_pairs import DIFFERENT, SAME, UNSEEN

TEXTS = distinct(["Plant oaks.", "Oaks should be planted.", "We should plant oaks"])


def merging(*scores: float, texts: tuple[str, ...] = TEXTS) -> Merging:
    return compare(texts, dict(zip(every_pair(len(texts)), scores, strict=True)), model="m", threshold=0.85)


def test_texts_above_the_threshold_are_one_and_near_ones_are_on_record() -> None:
    found = merging(0.9, 0.8, 0.1)
    assert [(pair.score, pair.merged) for pair in found.pairs] == [(0.9, True), (0.8, False)]
    assert set(representatives(found).values()) == {key(TEXTS[0])}
    assert key(TEXTS[2]) not in representatives(found)


def test_no_chain_unites_texts_that_are_not_alike() -> None:
    found = merging(0.9, 0.2, 0.88)  # first like second, second like third, first unlike third
    assert [pair.merged for pair in found.pairs] == [True, False]


def test_one_group_has_one_key() -> None:
    assert set(representatives(merging(0.9, 0.88, 0.95)).values()) == {min(map(key, TEXTS))}


def test_what_a_user_took_apart_stays_apart() -> None:
    found = undo(merging(0.9, 0.88, 0.95), set(map(key, TEXTS)))
    assert representatives(found) == {}
    assert len(undone([found, None])) == 3
    again = compare(TEXTS, dict.fromkeys(every_pair(3), 0.99), model="m", threshold=0.85, undone=undone([found]))
    assert representatives(again) == {}


def test_a_merged_candidate_keeps_its_id_when_one_wording_of_it_returns() -> None:
    leaders = representatives(merging(0.9, 0.88, 0.95))
    same = lambda text: leaders.get(key(text), normalise(text))  # noqa: E731
    first = build_candidates((), {"s1": Answer(answer=TEXTS[0]), "s2": Answer(answer=TEXTS[1])}, (), same)
    assert [(one.id, one.seats) for one in first] == [("a1", ("s1", "s2"))]
    later = build_candidates((), {"s1": Answer(answer="No."), "s2": Answer(answer=TEXTS[2])}, first, same)
    assert {one.seats: one.id for one in later} == {("s1",): "a2", ("s2",): "a1"}


@given(st.permutations(TEXTS))
def test_who_sits_where_changes_nothing(order: list[str]) -> None:
    assert distinct(order) == TEXTS


def test_contradictions_in_nearly_the_same_words_are_kept_apart() -> None:
    """The figures of docs/protocols.md, "Merging"."""
    same, different, unseen = (_merged(pairs) for pairs in (SAME, DIFFERENT, UNSEEN))
    assert (same, len(SAME)) == (9, 36)
    assert (different, len(DIFFERENT)) == (0, 72)
    assert unseen == UNSEEN_MERGED


UNSEEN_MERGED = 0


def _merged(pairs: tuple[tuple[str, str], ...]) -> int:
    vectors = built_in().embed_passages([text for pair in pairs for text in pair])
    scores = [float(vectors[2 * i] @ vectors[2 * i + 1]) for i in range(len(pairs))]
    return sum(score >= MERGE_AT and not kept_apart(*pair) for score, pair in zip(scores, pairs, strict=True))
