"""The life of a large space's index: built, used, watched, distrusted, dropped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from knowledge import ann, services, spaces, tasks
from knowledge.embeddings import query_vector
from knowledge.models import AnnState, EmbeddingSpace, KnowledgePack, PackEvent
from knowledge.search import search
from realtime import nudge
from tests.knowledge.conftest import Fill
from tests.knowledge.embedding_server import EmbeddingServer

pytestmark = pytest.mark.django_db(transaction=True)
ITEMS = [
    {"title": f"Note {i}", "content": f"The espresso machine number {i} hisses.", "tags": [f"t{i % 50}"]}
    for i in range(130)
]


@pytest.fixture
def space(fill: Fill, pack: KnowledgePack, settings: Settings) -> Iterator[EmbeddingSpace]:
    settings.ANN_BUILD_FROM, settings.ANN_DROP_BELOW = 100, 50
    settings.ANN_SAMPLE_SHARE, settings.SEARCH_CACHE_S = 0.0, 0
    fill(ITEMS)
    made = EmbeddingSpace.objects.get(pack=pack)
    yield made
    ann._drop_index(made.pk)


def state(space: EmbeddingSpace) -> str:
    space.refresh_from_db()
    return space.ann_state


def path(pack: KnowledgePack, **options: object) -> str:
    return search([pack], "coffee", **options).path  # type: ignore[arg-type]


def test_a_large_space_is_searched_by_its_index(space: EmbeddingSpace, pack: KnowledgePack) -> None:
    exact = search([pack], "coffee", mode="semantic")
    assert exact.path == "exact"
    assert ann.build(space.pk)
    assert state(space) == AnnState.READY
    found = search([pack], "coffee", mode="semantic")
    assert found.path == "hnsw"
    assert [hit.entry_id for hit in found.hits] == [hit.entry_id for hit in exact.hits]
    kinds = list(PackEvent.objects.filter(stream=pack, type="pack.index_changed").values_list("payload", flat=True))
    assert [kind["index"]["state"] for kind in kinds] == ["building", "ready"]
    assert not ann.build(space.pk)


def test_the_index_is_what_the_planner_takes(space: EmbeddingSpace) -> None:
    ann.build(space.pk)
    with connection.cursor() as cursor:
        cursor.execute("SET enable_sort = off")
        vector = "[" + ",".join(["0.05"] * space.dimension) + "]"
        cursor.cursor.execute("EXPLAIN " + ann.nearest_sql(space.pk, space.dimension, 10), [vector], prepare=False)
        plan = "\n".join(row[0] for row in cursor.cursor.fetchall())
        cursor.execute("RESET enable_sort")
    assert ann.index_name(space.pk) in plan


def test_too_little_after_the_filters_is_searched_exactly(space: EmbeddingSpace, pack: KnowledgePack) -> None:
    ann.build(space.pk)
    found = search([pack], "coffee", mode="semantic", tags=["t3"])
    assert (found.path, len(found.hits)) == ("exact", 3)


def test_fewer_rows_than_asked_for_are_searched_exactly(space: EmbeddingSpace, pack: KnowledgePack) -> None:
    ann.build(space.pk)
    with connection.cursor() as cursor:  # as if the index had missed most of the space
        ann._drop_index(space.pk)
        cursor.execute("UPDATE knowledge_passagevector SET live = false WHERE passage_id IN"
                       " (SELECT passage_id FROM knowledge_passagevector WHERE space_id = %s LIMIT 60)", [space.pk])  # fmt: skip
    assert path(pack, mode="semantic") == "exact"


def test_a_space_that_shrinks_loses_its_index(space: EmbeddingSpace, pack: KnowledgePack, settings: Settings) -> None:
    ann.build(space.pk)
    ann.sweep()
    assert state(space) == AnnState.READY
    settings.ANN_DROP_BELOW = settings.ANN_BUILD_FROM = 1000
    ann.sweep()
    assert state(space) == AnnState.NONE
    assert space.pk not in ann._indexed_spaces()
    assert path(pack) == "exact"


def test_the_index_of_a_space_that_is_gone_is_dropped(space: EmbeddingSpace) -> None:
    ann.build(space.pk)
    EmbeddingSpace.objects.filter(pk=space.pk).update(state="past")
    ann.sweep()
    assert space.pk not in ann._indexed_spaces()


def test_a_build_that_died_is_begun_again(space: EmbeddingSpace) -> None:
    EmbeddingSpace.objects.filter(pk=space.pk).update(ann_state=AnnState.BUILDING)
    assert ann.build(space.pk)
    assert state(space) == AnnState.READY


def test_good_samples_are_recorded(space: EmbeddingSpace, pack: KnowledgePack) -> None:
    ann.build(space.pk)
    assert ann.check_recall(space.pk, query_vector("coffee")) == 1.0
    assert state(space) == AnnState.READY
    assert space.ann_recall == 1.0


def test_bad_recall_makes_search_exact_again(space: EmbeddingSpace, pack: KnowledgePack, settings: Settings) -> None:
    ann.build(space.pk)
    settings.ANN_MIN_RECALL = 1.01  # no index is as good as that
    ann.check_recall(space.pk, query_vector("coffee"))
    assert state(space) == AnnState.DISTRUSTED
    assert path(pack) == "exact"
    event = PackEvent.objects.filter(stream=pack).latest("seq")
    assert (event.type, event.payload["index"]["state"]) == ("pack.index_changed", "distrust")


def test_a_sample_of_another_dimension_is_ignored(space: EmbeddingSpace) -> None:
    ann.build(space.pk)
    assert ann.check_recall(space.pk, np.ones(3, dtype=np.float32)) is None


def test_a_distrusted_index_is_built_anew_after_a_while(space: EmbeddingSpace, pack: KnowledgePack) -> None:
    ann.build(space.pk)
    now = timezone.now()
    EmbeddingSpace.objects.update(ann_state=AnnState.DISTRUSTED, ann_recall=0.5, ann_sampled_at=now)
    assert not ann.build(space.pk)
    EmbeddingSpace.objects.update(ann_sampled_at=now - ann.REBUILD)
    ann.sweep()  # keeps it, and asks for what follows
    tasks.build_ann(space.pk)
    assert (state(space), space.ann_recall) == (AnnState.READY, None)
    assert path(pack) == "hnsw"


@pytest.fixture
def future(space: EmbeddingSpace, pack: KnowledgePack) -> Iterator[EmbeddingSpace]:
    """A space that is complete but for its index."""
    with EmbeddingServer() as server:
        services.create_embedding_model(name="other", base_url=server.url, model="other", dimension=8)
        services.choose_embedding(pack.pk, "other")
        tasks.fill_space(str(pack.pk))
        made = EmbeddingSpace.objects.get(pack=pack, state="future")
        assert spaces.missing(made).count() == 0
        yield made
        ann._drop_index(made.pk)


def test_a_large_space_has_its_index_before_it_is_searched(
    future: EmbeddingSpace, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.fill_space(str(pack.pk))
    assert spaces.packs_with_work(timezone.now()) == []  # nobody is to look at it all the time
    sent: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(nudge, "send_task", lambda name, args, queue, **_: sent.append((name, list(args))))
    tasks.build_ann(future.pk)
    assert sent == [("knowledge.tasks.fill_space", [str(pack.pk)])]
    assert (state(future), future.state) == (AnnState.READY, "future")
    ann.sweep()
    assert future.pk in ann._indexed_spaces()
    tasks.fill_space(str(pack.pk))
    assert (state(future), future.state) == (AnnState.READY, "present")
    assert path(pack) == "hnsw"


def test_an_index_that_does_not_come_about_is_not_waited_for_without_end(
    future: EmbeddingSpace, pack: KnowledgePack
) -> None:
    EmbeddingSpace.objects.filter(pk=future.pk).update(attempt=spaces.INDEX_WAITS, available_at=None)
    tasks.fill_space(str(pack.pk))
    assert (state(future), future.state) == (AnnState.NONE, "present")
    assert path(pack) == "exact"
