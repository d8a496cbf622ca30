"""Packs as they are and pinned snapshots, searched apart and merged on one scale."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from accounts.models import User
from council import evidence, services
from council.evidence import merge
from knowledge import indexing
from knowledge import services as knowledge
from knowledge.models import KnowledgePack
from knowledge.search import Hit, SearchResult, search


def hit(pack: UUID, lexical: float | None, semantic: float | None, score: float) -> Hit:
    entry = uuid4()
    return Hit(
        pack_id=pack, pack_title="P", entry_id=entry, title="T", tags=[], metadata={}, source_url=None, external_id=None,
        revision_id=uuid4(), revision=1, passage_id=uuid4(), ordinal=0, start=0, end=1, heading="", text="t", score=score,
        lexical=lexical, semantic=semantic, highlight="", more=0,
    )  # fmt: skip


def result(*hits: Hit, mode: str = "hybrid") -> SearchResult:
    return SearchResult(query="q", mode=mode, took_ms=0, hits=list(hits))


RICH, POOR = KnowledgePack(lexical_weight=0.3), KnowledgePack(lexical_weight=0.3)
PACKS = {RICH.pk: RICH, POOR.pk: POOR}


def test_the_best_hit_of_a_poor_source_does_not_outrank_good_ones() -> None:
    """Each search gives its own best BM25 the full share; by their own scores the poor hit would come second."""
    rich = result(hit(RICH.pk, 12.0, 0.6, 0.72), hit(RICH.pk, 9.0, 0.5, 0.575), hit(RICH.pk, 8.0, 0.5, 0.55))
    poor = result(hit(POOR.pk, 0.8, 0.42, 0.594))
    merged = merge([rich, poor], PACKS, 4)
    assert [one.pack_id for one in merged] == [RICH.pk] * 3 + [POOR.pk]
    assert merged[-1].score == pytest.approx(0.3 * 0.8 / 12 + 0.7 * 0.42)


def test_a_source_keeps_its_own_order_and_no_more_than_k_are_kept() -> None:
    """A reranker may have put a lesser score first; it knows its source better."""
    first, second = hit(RICH.pk, 1.0, 0.2, 0.2), hit(RICH.pk, 5.0, 0.9, 0.9)
    other = hit(POOR.pk, 5.0, 0.5, 0.65)
    merged = merge([result(first, second), result(other)], PACKS, 2)
    assert [one.passage_id for one in merged] == [other.passage_id, first.passage_id]


def test_words_alone_are_compared_by_words_alone() -> None:
    lexical = result(hit(POOR.pk, 6.0, None, 1.0), mode="lexical")
    merged = merge([lexical, result(hit(RICH.pk, 12.0, None, 1.0), mode="lexical")], PACKS, 2)
    assert [(one.pack_id, one.score) for one in merged] == [(RICH.pk, 1.0), (POOR.pk, 0.5)]


def test_one_source_is_left_as_it_is() -> None:
    hits = [hit(RICH.pk, 1.0, 0.2, 0.9), hit(RICH.pk, 5.0, 0.9, 0.1)]
    assert merge([result(*hits)], PACKS, 1) == hits[:1]
    assert merge([], PACKS, 3) == []
    assert merge([result(), result()], PACKS, 3) == []


SHIPS = [
    {"title": f"Ferry {n}", "content": f"The night ferry number {n} carries lorries over the sound."} for n in range(3)
]


@pytest.fixture
def packs(user: User) -> list[KnowledgePack]:
    """One that says much about ferries and one that hardly mentions them, under one word that both share."""
    made = [knowledge.create_pack(user, name=name) for name in ("Harbour", "Kitchen")]
    knowledge.add_entries(made[0], user, SHIPS)
    knowledge.add_entries(
        made[1], user, [{"title": "Bread", "content": "Flour, water and salt. Once eaten on a ferry."}]
    )
    for pack in made:
        while indexing.index_once(pack.pk):
            pass
    return made


@pytest.mark.django_db
def test_a_pinned_source_is_ranked_as_it_would_be_among_live_ones(user: User, packs: list[KnowledgePack]) -> None:
    knowledge.publish(packs[1].pk, None, "v1")
    ids = [pack.pk for pack in packs]
    plan = services.Plan(question="Which lorries does the night ferry carry?", packs=ids, pins={packs[1].pk: "v1"})
    pinned = services.create_session(user, plan)
    query = "night ferry lorries"
    found = evidence.retrieve(pinned.pk, query, 4)
    together = search(packs, query, limit=4)
    assert [one.entry for one in found] == [str(one.entry_id) for one in together.hits]
    assert [one.score for one in found] == pytest.approx([one.score for one in together.hits], abs=1e-3)
    assert [(one.snapshot is not None, one.snapshot_label) for one in found] == [(False, "")] * 3 + [(True, "v1")]


def test_merging_does_not_change_what_it_was_given() -> None:
    one, other = hit(RICH.pk, 1.0, 0.2, 0.9), hit(POOR.pk, 4.0, 0.2, 0.9)
    before = [replace(one), replace(other)]
    merge([result(one), result(other)], PACKS, 2)
    assert [one, other] == before
