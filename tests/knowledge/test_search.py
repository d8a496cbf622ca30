"""What a search finds, with the real model and real PostgreSQL."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.models import User
from knowledge import services
from knowledge.errors import EmbeddingError
from knowledge.models import Entry, KnowledgePack
from knowledge.search import Hit, SearchResult, search
from realtime.errors import InvalidInput
from tests.knowledge.conftest import BREAD, CAFE, SOLAR, Fill, index_all


def names(result: SearchResult) -> list[str | None]:
    return [hit.external_id for hit in result.hits]


def best(result: SearchResult) -> Hit:
    return result.hits[0]


@pytest.mark.parametrize("mode", ["hybrid", "lexical", "semantic"])
def test_every_mode_finds_the_obvious_entry_first(fill: Fill, pack: KnowledgePack, mode: str) -> None:
    fill()
    result = search([pack], "baking a loaf of bread", mode=mode)
    assert (names(result)[0], result.mode) == ("bread", mode)
    assert 0 < best(result).score <= 1


def test_meaning_finds_what_words_do_not(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    assert search([pack], "renewable power generation", mode="lexical").hits == []
    assert names(search([pack], "renewable power generation"))[0] == "solar"


def test_words_are_found_the_moment_an_entry_is_committed(fill: Fill, pack: KnowledgePack) -> None:
    fill(index=False)
    assert names(search([pack], "espresso")) == ["cafe"]
    assert search([pack], "espresso", mode="semantic").hits == []


def test_a_hit_is_a_span_of_its_revision_with_both_scores(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    hit = best(search([pack], "oven"))
    entry = Entry.objects.select_related("revision").get(pk=hit.entry_id)
    assert entry.revision.content[hit.start : hit.end] == hit.text
    assert (hit.revision_id, hit.revision, hit.pack_title) == (entry.revision_id, 1, "Notes")
    assert hit.lexical
    assert hit.semantic
    assert hit.score == pytest.approx(0.3 + 0.7 * hit.semantic, abs=1e-4)
    assert hit.metadata == {"kind": "recipe"}


def test_both_scores_are_computed_for_every_candidate(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    result = search([pack], "electricity")
    assert all(hit.lexical is not None and hit.semantic is not None for hit in result.hits)
    assert [hit.lexical for hit in result.hits][1:] == [0.0, 0.0]


def test_terms_are_alternatives_and_not_all_required(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    found = names(search([pack], "electricity espresso unheardofword", mode="lexical"))
    assert set(found) == {"solar", "cafe"}


def test_repeated_query_words_count_more(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    once = best(search([pack], "oven", mode="lexical")).lexical
    twice = best(search([pack], "oven oven", mode="lexical")).lexical
    assert once
    assert twice == pytest.approx(2 * once)


@pytest.mark.parametrize("typed", ["cafe", "Café", "zurich", "ZÜRICH", "naive"])
def test_accents_and_case_do_not_matter(fill: Fill, pack: KnowledgePack, typed: str) -> None:
    fill()
    hit = best(search([pack], typed, mode="lexical"))
    assert hit.external_id == "cafe"


def test_a_highlight_marks_accented_words_as_they_are_written(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    assert "<mark>café</mark>" in best(search([pack], "cafe", mode="lexical")).highlight


def test_a_highlight_is_safe_html(fill: Fill, pack: KnowledgePack) -> None:
    text = 'Never trust <script>alert("x")</script> & <img src=x onerror=alert(1)> inside espresso \ue000text\ue001.'
    fill([{"title": "Attack", "content": text}])
    highlight = best(search([pack], "espresso trust")).highlight
    bare = highlight.replace("<mark>", "").replace("</mark>", "")
    assert "<" not in bare
    assert ">" not in bare
    assert '"' not in bare
    assert "<mark>espresso</mark>" in highlight
    assert "\ue000" not in highlight
    assert "<mark>text" not in highlight


@pytest.mark.parametrize(("typed", "found"), [("electricty", "solar"), ("esspresso", "cafe"), ("sourdouh", "bread")])
def test_a_misspelt_word_finds_the_nearest_one(fill: Fill, pack: KnowledgePack, typed: str, found: str) -> None:
    fill()
    assert names(search([pack], typed, mode="lexical")) == [found]


def test_a_correct_word_is_never_corrected(fill: Fill, pack: KnowledgePack) -> None:
    fill([{"title": "A", "content": "form"}, {"title": "B", "content": "forms format"}])
    result = search([pack], "form", mode="lexical", explain=True)
    assert result.explain
    assert [term["typed"] for term in result.explain["packs"][0]["terms"]] == [None]


def test_numbers_are_not_corrected(fill: Fill, pack: KnowledgePack) -> None:
    fill([{"title": "Report", "content": "Published in 19561 by the office"}])
    assert search([pack], "19562", mode="lexical").hits == []


def test_a_phrase_must_stand_as_it_is_quoted(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    assert names(search([pack], '"hot oven"')) == ["bread"]
    assert names(search([pack], '"oven hot"')) == []


def test_an_excluded_word_removes_its_entries_from_both_halves(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    assert "bread" not in names(search([pack], "food flour espresso -oven"))
    assert "bread" not in names(search([pack], "baking bread -oven", mode="semantic"))


def test_tags_filter_every_mode(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    for mode in ("hybrid", "lexical", "semantic"):
        assert set(names(search([pack], "espresso bread electricity", mode=mode, tags=["food"]))) <= {"bread", "cafe"}
    assert names(search([pack], "espresso", tags=["food", "travel"])) == ["cafe"]
    assert search([pack], "espresso", tags=["none such"]).hits == []


def test_disabled_entries_are_not_found(fill: Fill, pack: KnowledgePack) -> None:
    _, bread, _ = fill()
    assert bread.entry
    services.set_entry_enabled(bread.entry.pk, enabled=False)
    assert "bread" not in names(search([pack], "sourdough bread"))
    services.set_entry_enabled(bread.entry.pk, enabled=True)
    assert names(search([pack], "sourdough bread"))[0] == "bread"


def test_deleted_entries_are_not_found(fill: Fill, pack: KnowledgePack) -> None:
    _, bread, _ = fill()
    assert bread.entry
    services.delete_entry(bread.entry.pk)
    assert "bread" not in names(search([pack], "sourdough bread"))


def test_only_the_current_revision_is_found(fill: Fill, pack: KnowledgePack, user: User) -> None:
    solar, _, _ = fill()
    assert solar.entry
    services.revise_entry(solar.entry.pk, user, {"content": "Wind turbines in the garden."})
    index_all(pack)
    assert names(search([pack], "inverter", mode="lexical")) == []
    hit = best(search([pack], "turbines"))
    assert (hit.external_id, hit.revision) == ("solar", 2)


def test_several_passages_of_an_entry_are_one_hit(fill: Fill, pack: KnowledgePack) -> None:
    long = "\n\n".join(f"## Part {i}\n\n" + f"The espresso machine number {i} hisses. " * 30 for i in range(6))
    fill([SOLAR, {"title": "Manual", "content": long, "external_id": "manual"}])
    result = search([pack], "espresso machine")
    assert names(result).count("manual") == 1
    assert best(result).more >= 4


def test_the_limit_is_kept(fill: Fill, pack: KnowledgePack) -> None:
    fill([{"title": f"Note {i}", "content": f"espresso note {i}"} for i in range(60)])
    assert len(search([pack], "espresso", limit=3).hits) == 3
    assert len(search([pack], "espresso", limit=50).hits) == 50


def test_several_packs_are_merged(fill: Fill, pack: KnowledgePack, user: User) -> None:
    fill([SOLAR])
    other = services.create_pack(user, name="Cuisine", language="french")
    services.add_entries(other, user, [BREAD, CAFE])
    index_all(other)
    result = search([pack, other], "bread and electricity")
    assert {hit.pack_title for hit in result.hits} == {"Notes", "Cuisine"}
    assert [hit.score for hit in result.hits] == sorted((hit.score for hit in result.hits), reverse=True)
    assert names(search([other], "electricity", mode="lexical")) == []


def test_no_packs_and_empty_packs_find_nothing(pack: KnowledgePack) -> None:
    assert search([], "anything").hits == []
    assert search([pack], "anything").hits == []


def test_explain_says_how_the_list_came_about(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    result = search([pack], "hot espresso electricty", explain=True)
    assert result.explain
    (leg,) = result.explain["packs"]
    assert leg["paths"] == ["bm25", "exact"]
    assert {term["lexeme"]: term["typed"] for term in leg["terms"]} == {
        "hot": None,
        "espresso": None,
        "electr": "electricti",
    }
    assert best(result).explain
    assert {"ranks", "scores", "matched_terms"} == set(best(result).explain or {})
    assert ["espresso"] in [(hit.explain or {})["matched_terms"] for hit in result.hits]


def test_stop_words_alone_are_searched_by_meaning(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    result = search([pack], "what is the")
    assert len(result.hits) == 3
    assert all(hit.lexical is None for hit in result.hits)
    assert search([pack], "what is the", mode="lexical").hits == []


@pytest.mark.parametrize(
    ("text", "mode", "limit"),
    [("", "hybrid", 10), ("  \n\x00", "hybrid", 10), ("x", "fuzzy", 10), ("x", "hybrid", 0), ("x", "hybrid", 101)],
)
def test_bad_arguments_are_refused(pack: KnowledgePack, text: str, mode: str, limit: int) -> None:
    with pytest.raises(InvalidInput):
        search([pack], text, mode=mode, limit=limit)


ODD = ["'", "''", "\\", "a & b | !c <-> d", ":*", "foo:A", "%", "_", '"', '""', '"the"', "-", "--x", "-the", "(", "{1:2}/3",
       "🙂", "\u202e", "#" * 50, "<mark>", "%s %(pack)s", "a\tb\nc", "it's", "日本語",
       "-" * 500, '"' * 99, "x" * 5000, "é" * 900]  # fmt: skip


@pytest.mark.parametrize("mode", ["hybrid", "lexical", "semantic"])
def test_no_query_is_an_error(fill: Fill, pack: KnowledgePack, mode: str) -> None:
    fill()
    for text in ODD:
        assert search([pack], text, mode=mode, explain=True).query == text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1, max_size=60).filter(lambda text: text.replace("\x00", " ").strip()))
def test_no_generated_query_is_an_error(filled: KnowledgePack, text: str) -> None:
    search([filled], text, mode="lexical")


@pytest.fixture
def filled(fill: Fill, pack: KnowledgePack) -> KnowledgePack:
    fill()
    return pack


def test_while_the_model_does_not_answer_hybrid_is_lexical(fill: Fill, pack: KnowledgePack, settings: Settings) -> None:
    fill()
    settings.EMBEDDING_BASE_URL = "http://127.0.0.1:9/v1"
    settings.EMBEDDING_MODEL = "all-MiniLM-L6-v2"
    settings.EMBEDDING_DIMENSION = 384
    result = search([pack], "espresso")
    assert (result.mode, names(result)) == ("lexical", ["cafe"])
    with pytest.raises(EmbeddingError):
        search([pack], "espresso", mode="semantic")


def test_vectors_of_another_model_are_never_compared(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    pack.spaces.update(model="another")
    result = search([pack], "espresso")
    assert (names(result), best(result).semantic) == (["cafe"], None)


def test_a_search_costs_a_handful_of_statements(fill: Fill, pack: KnowledgePack, settings: Settings) -> None:
    settings.SEARCH_CACHE_S = 0
    fill()
    search([pack], "hot espresso")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        search([pack], "hot espresso")
    assert len(queries) == 4  # packs and their spaces, terms, candidates, details
