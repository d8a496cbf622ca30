"""Passages: spans of the text, in order, covering it, within the token bound."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge import chunking, minilm
from knowledge.chunking import Chunk, approximate_tokens, chunk

WORDS = st.sampled_from(
    [
        "a",
        "word",
        "sentence.",
        "Question?",
        "# Title",
        "## Section",
        "### Part",
        "- item",
        "1. first",
        "```",
        "~~~",
        "naïve",
        "中文。",
        "🙂",
        "x" * 130,
        "https://example.org/a/b?c=d",
        "**bold.**",
        "\xa0",
    ]
)
GAPS = st.sampled_from([" ", "\n", "\n\n", "\t", "\r\n", " " * 40, "\u2028", "\n" * 30])
MARKDOWN = st.lists(st.tuples(WORDS, GAPS), max_size=700).map(lambda parts: "".join(a + b for a, b in parts))
ANYTHING = st.text(max_size=3000)


@given(MARKDOWN | ANYTHING)
def test_spans_are_inside_ordered_and_cover_everything_but_white_space(content: str) -> None:
    chunks = chunk(content)
    assert all(0 <= piece.start < piece.end <= len(content) for piece in chunks)
    edges = [0, *(edge for piece in chunks for edge in (piece.start, piece.end)), len(content)]
    assert edges == sorted(edges)
    between = [content[end:start] for end, start in pairwise(edges)][::2]
    assert "".join(between).strip() == ""


@given(MARKDOWN | ANYTHING)
def test_no_passage_exceeds_the_token_or_character_bound(content: str) -> None:
    texts = [content[piece.start : piece.end] for piece in chunk(content)]
    assert max(approximate_tokens(texts), default=0) <= chunking.MAX_TOKENS
    assert max(map(len, texts), default=0) <= chunking.MAX_CHARS


@given(MARKDOWN)
def test_passages_begin_and_end_with_a_word(content: str) -> None:
    texts = [content[piece.start : piece.end] for piece in chunk(content)]
    assert all(text == text.strip() for text in texts)


def test_blank_text_has_no_passages() -> None:
    assert chunk(" \n\t ") == []


def test_long_text_is_cut_into_passages_near_the_bound_of_the_real_tokenizer() -> None:
    content = " ".join(f"This is sentence number {i} about the flow of heat in a boundary layer." for i in range(400))
    counts = minilm.count_tokens([content[p.start : p.end] for p in chunk(content, minilm.count_tokens)])
    assert all(190 <= count <= 220 for count in counts)


def test_cuts_fall_between_sentences() -> None:
    content = " ".join(f"Sentence {i} has exactly eight words in it." for i in range(200))
    assert all(content[piece.start : piece.end].endswith("it.") for piece in chunk(content))


def test_a_passage_does_not_straddle_two_full_sections() -> None:
    section = "word " * 90
    content = f"# Book\n\n## One\n\n{section}\n\n## Two\n\n{section}"
    assert [piece.heading for piece in chunk(content)] == ["Book › One", "Book › Two"]


def test_tiny_sections_share_a_passage() -> None:
    content = "\n\n".join(f"## Part {i}\n\nShort." for i in range(10))
    assert len(chunk(content)) == 1


def test_hashes_inside_a_code_fence_are_no_headings() -> None:
    content = f"## Real\n\n{'word ' * 70}\n\n```\n# comment\n{'code ' * 70}\n```\n"
    assert {piece.heading for piece in chunk(content)} == {"Real"}


def test_a_blob_without_spaces_is_cut_by_characters() -> None:
    chunks = chunk("A" * 20_000, minilm.count_tokens)
    assert max(piece.end - piece.start for piece in chunks) <= chunking.MAX_CHARS
    assert sum(piece.end - piece.start for piece in chunks) == 20_000


def test_text_without_spaces_between_words_is_cut_at_its_stops() -> None:
    content = "这是一个测试句子。" * 200
    chunks = chunk(content, minilm.count_tokens)
    assert all(content[piece.end - 1] == "。" for piece in chunks)


@pytest.mark.parametrize("content", ["# Only a heading", "Setext\n======\n\ntext", "####### seven"])
def test_odd_headings_are_kept_as_text(content: str) -> None:
    assert chunk(content) == [Chunk(0, len(content), "Only a heading" if content.startswith("# ") else "")]
