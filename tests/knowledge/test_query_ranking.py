"""The pure parts of search: reading a query, BM25's view of it, and fusing two scores."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge import query
from knowledge.query import Term, gate, idf, parse, sparse
from knowledge.ranking import Candidate, Mode, fuse


@pytest.mark.parametrize(
    ("text", "scored", "filtered"),
    [
        ("plain words", "plain words", ""),
        ('heat "boundary layer" flow', "heat boundary layer flow", '"boundary layer"'),
        ("heat -laminar", "heat", "-laminar"),
        ('flow -"flat plate" heat', "flow heat", '-"flat plate"'),
        ("state-of-the-art", "state-of-the-art", ""),
        ("a - b", "a - b", ""),
        ('an "unfinished quote', "an unfinished quote", ""),
        ('""', "", ""),
        ("-only", "", "-only"),
    ],
)
def test_quotes_and_minus_signs_become_filters(text: str, scored: str, filtered: str) -> None:
    assert (parse(text).text, parse(text).filter) == (scored, filtered)


@given(st.text(max_size=300))
def test_any_text_can_be_parsed(text: str) -> None:
    parsed = parse(text)
    assert "\x00" not in parsed.text + parsed.filter
    assert '"' not in parsed.text


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_idf_is_positive_and_falls_with_document_frequency(df: int, more: int) -> None:
    total = df + more
    assert idf(df, total) > 0
    assert more == 0 or idf(df, total) > idf(df + 1, total)


def test_the_query_vector_counts_repetitions_and_adds_up_colliding_keys() -> None:
    terms = [Term("a", 7, 2, 1), Term("b", 7, 1, 1), Term("c", 9, 1, 3)]
    weight = idf(1, 10)
    assert sparse(terms, 10) == f"{{7:{3 * weight:.7g},9:{idf(3, 10):.7g}}}/{2**29}"


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20))
def test_the_gate_takes_the_rarest_terms_within_the_budget(frequencies: list[int]) -> None:
    terms = [Term(f"t{i}", i + 1, 1, df) for i, df in enumerate(frequencies)]
    chosen = gate(terms)
    assert chosen
    assert len(chosen) == 1 or sum(term.df for term in chosen) <= query.BUDGET
    assert max(term.df for term in chosen) <= min((term.df for term in terms if term not in chosen), default=10**9)


def candidate(
    passage: int, entry: int, lexical: float | None, semantic: float | None, weight: float = 0.3
) -> Candidate:
    return Candidate(UUID(int=passage), UUID(int=entry), lexical, semantic, weight)


def test_both_scores_count_with_their_weights() -> None:
    ranked = fuse([candidate(1, 1, 10.0, 0.2), candidate(2, 2, 5.0, 0.6)], Mode.HYBRID)
    assert [item.candidate.entry.int for item in ranked] == [2, 1]
    assert [item.score for item in ranked] == pytest.approx([0.3 * 0.5 + 0.7 * 0.6, 0.3 + 0.7 * 0.2])


@pytest.mark.parametrize(("mode", "best"), [(Mode.LEXICAL, 1), (Mode.SEMANTIC, 2)])
def test_a_single_mode_ranks_by_its_own_score(mode: Mode, best: int) -> None:
    ranked = fuse([candidate(1, 1, 10.0, 0.2), candidate(2, 2, 5.0, 0.6)], mode)
    assert ranked[0].candidate.entry.int == best


def test_passages_of_one_entry_collapse_to_the_best() -> None:
    ranked = fuse([candidate(1, 1, 1.0, 0.1), candidate(2, 1, 2.0, 0.9), candidate(3, 2, 0.0, 0.5)], Mode.HYBRID)
    assert [(item.candidate.passage.int, item.more) for item in ranked] == [(2, 1), (3, 0)]


def test_a_passage_without_a_vector_still_ranks_by_its_words() -> None:
    ranked = fuse([candidate(1, 1, 3.0, None), candidate(2, 2, 0.0, 0.1)], Mode.HYBRID)
    assert ranked[0].candidate.entry.int == 1


SCORES = st.tuples(st.integers(0, 30), st.none() | st.floats(0, 50), st.none() | st.floats(-1, 1), st.floats(0, 1))


@given(st.lists(SCORES, max_size=40), st.sampled_from(list(Mode)))
def test_every_entry_stands_once_in_falling_order(
    rows: list[tuple[int, float | None, float | None, float]], mode: Mode
) -> None:
    candidates = [candidate(i, *row) for i, row in enumerate(rows)]
    ranked = fuse(candidates, mode)
    entries = [item.candidate.entry for item in ranked]
    assert sorted(set(entries)) == sorted(entries) == sorted({c.entry for c in candidates})
    assert [item.score for item in ranked] == sorted((item.score for item in ranked), reverse=True)
    assert sum(item.more + 1 for item in ranked) == len(candidates)
    assert fuse(candidates[::-1], mode) == ranked
