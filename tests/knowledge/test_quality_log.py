"""The search log: written beside the search, bounded, and forgotten in time. Real rows need committed transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.utils import timezone
from prometheus_client import REGISTRY

from accounts.models import User
from knowledge import cleaning
from knowledge.models import EntryUse, KnowledgePack, SearchLog
from knowledge.quality import log
from knowledge.search import search
from realtime import cleaning as realtime_cleaning
from tests.conftest import Api
from tests.knowledge.conftest import Fill

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def logging_searches(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.SEARCH_LOG = True
    monkeypatch.setattr(log, "GATHER_S", 0.05)
    yield
    assert log.flush(5)


def lost(why: str) -> float:
    return REGISTRY.get_sample_value("quorum_search_log_lost_total", {"why": why}) or 0.0


def test_a_search_of_a_person_is_logged_and_counted(api: Api, user: User, pack: KnowledgePack, fill: Fill) -> None:
    fill(index=False)
    url = f"/api/knowledge-packs/{pack.pk}/entries/search"
    for query in ("photovoltaic", "Photovoltaic ", "zeppelin"):
        assert api.get(f"{url}?q={query}&mode=lexical").status_code == 200
    assert log.flush(5)
    rows = SearchLog.objects.order_by("at", "id")
    assert {(row.query, row.user, row.origin, row.hits, row.path) for row in rows} == {
        ("photovoltaic", user, "person", 1, "none"),
        ("Photovoltaic", user, "person", 1, "none"),
        ("zeppelin", user, "person", 0, "none"),
    }
    assert EntryUse.objects.get().retrieved == 2
    summary = api.get(f"/api/knowledge-packs/{pack.pk}/searches/summary").json()
    assert (summary["searches"], summary["zero_results"], summary["zero_result_rate"]) == (3, 1, 0.3333)
    assert [(row["query"], row["count"]) for row in summary["top_queries"]] == [("photovoltaic", 2), ("zeppelin", 1)]
    assert [row["query"] for row in summary["zero_result_queries"]] == ["zeppelin"]
    assert summary["never_retrieved"] == 2
    assert [row["title"] for row in summary["never_retrieved_entries"]] == ["Sourdough bread", "The café in Zürich"]
    listed = api.get(f"/api/knowledge-packs/{pack.pk}/searches?limit=1").json()["results"]
    assert [(row["query"], row["zero_results"]) for row in listed] == [("zeppelin", 1)]


def test_each_pack_has_a_row_of_its_own_hits(user: User, pack: KnowledgePack, fill: Fill) -> None:
    fill(index=False)
    other = KnowledgePack.objects.create(owner=user, name="Empty")
    packs = [pack, other]
    log.record(packs, None, "bread", "lexical", search(packs, "bread", mode="lexical"), "council")
    assert log.flush(5)
    assert set(SearchLog.objects.values_list("pack", "origin", "hits")) == {
        (pack.pk, "council", 1),
        (other.pk, "council", 0),
    }


def test_nothing_is_logged_when_it_is_off(settings: LazySettings, pack: KnowledgePack, fill: Fill) -> None:
    fill(index=False)
    settings.SEARCH_LOG = False
    log.record([pack], None, "bread", "lexical", search([pack], "bread", mode="lexical"), "person")
    assert log.flush(5)
    assert not SearchLog.objects.exists()


def test_a_pack_that_has_gone_costs_its_own_row_alone(user: User, pack: KnowledgePack, fill: Fill) -> None:
    fill(index=False)
    gone = KnowledgePack.objects.create(owner=user, name="Gone")
    result = search([pack, gone], "bread", mode="lexical")
    before = lost("gone")
    KnowledgePack.objects.filter(pk=gone.pk).delete()
    log.record([pack, gone], user, "bread", "lexical", result, "person")
    assert log.flush(5)
    assert [row.pack_id for row in SearchLog.objects.all()] == [pack.pk]
    assert lost("gone") == before + 1


def test_what_does_not_fit_is_lost_and_counted_and_nobody_waits(
    monkeypatch: pytest.MonkeyPatch, pack: KnowledgePack, fill: Fill
) -> None:
    fill(index=False)
    monkeypatch.setattr(log, "CAPACITY", 3)
    monkeypatch.setattr(log, "BATCH", 2)
    opened = threading.Event()
    monkeypatch.setattr(log, "write", lambda _batch: opened.wait(5))  # a database that hangs
    writer = log.Writer()
    monkeypatch.setattr(log, "_current", [writer])
    result = search([pack], "bread", mode="lexical")
    before = lost("full")
    for _ in range(50):
        log.record([pack], None, "bread", "lexical", result, "person")
    assert lost("full") - before >= 50 - 3 - 2  # three wait, two are being written
    opened.set()
    assert writer.flush(5)


def test_old_searches_are_forgotten(
    settings: LazySettings, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realtime_cleaning, "SLICE", 2)
    settings.SEARCH_LOG_DAYS = 90
    for days in (1, 89, 91, 92, 400):
        row = SearchLog.objects.create(pack=pack, query=str(days), mode="lexical", hits=0, took_ms=1)
        SearchLog.objects.filter(pk=row.pk).update(at=timezone.now() - timedelta(days=days))
    assert realtime_cleaning.run("searches", cleaning.SEARCHES).removed == 3
    assert set(SearchLog.objects.values_list("query", flat=True)) == {"1", "89"}
