"""Cached results, and the reranker, with real servers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pytest_django import Settings

from accounts import caching
from accounts.breaker import Breaker
from accounts.models import User
from knowledge import services
from knowledge.models import KnowledgePack
from knowledge.search import SearchResult, search
from tests.knowledge.conftest import Fill


def names(result: SearchResult) -> list[str | None]:
    return [hit.external_id for hit in result.hits]


def test_the_same_search_comes_from_the_cache(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    first, second = search([pack], "espresso", explain=True), search([pack], "espresso", explain=True)
    assert (first.cached, second.cached) == (False, True)
    assert first.hits == second.hits
    assert (first.query, first.mode, first.path) == (second.query, second.mode, second.path)
    assert first.explain
    assert second.explain
    assert (first.explain["cache"], second.explain["cache"]) == ("miss", "hit")


@pytest.mark.parametrize("change", ["limit", "mode", "tags", "min_score"])
def test_another_request_does_not(fill: Fill, pack: KnowledgePack, change: str) -> None:
    fill()
    search([pack], "espresso")
    other: dict[str, Any] = {"limit": 3, "mode": "lexical", "tags": ["food"], "min_score": 0.1}
    assert not search([pack], "espresso", **{change: other[change]}).cached


def test_a_write_outdates_results_even_for_a_pack_read_before(fill: Fill, pack: KnowledgePack, user: User) -> None:
    _, bread, _ = fill()
    assert names(search([pack], "sourdough bread"))[0] == "bread"
    assert bread.entry
    services.delete_entry(bread.entry.pk)  # ``pack`` still carries the old epoch
    assert "bread" not in names(search([pack], "sourdough bread"))
    services.update_pack(pack.pk, {"name": "Renamed"})
    assert not search([pack], "sourdough bread").cached


def test_a_dead_cache_neither_breaks_nor_slows_search(
    fill: Fill, pack: KnowledgePack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    search([pack], "warm up")
    settings.CACHES = {
        **settings.CACHES,
        "objects": {**settings.CACHES["objects"], "LOCATION": "redis://127.0.0.1:9/0"},
    }
    monkeypatch.setattr(caching, "breaker", Breaker())
    began = time.monotonic()
    assert names(search([pack], "espresso"))[0] == "cafe"
    assert time.monotonic() - began < 1.0
    assert not caching.breaker.is_open()


class Reranker(BaseHTTPRequestHandler):
    delay_s = 0.0
    status = 200
    seen: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).seen.append({"path": self.path, **body})
        time.sleep(self.delay_s)
        # Likes long documents, which no other part of search does.
        results = [{"index": i, "relevance_score": len(text)} for i, text in enumerate(body["documents"])]
        payload = json.dumps({"results": results[::-1]}).encode()
        try:
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)
        except (BrokenPipeError, ConnectionResetError):
            return  # the client has given up: that is what some tests are about

    def log_message(self, *args: object) -> None:
        return


@pytest.fixture
def reranker(settings: Settings) -> Iterator[type[Reranker]]:
    handler = type("Handler", (Reranker,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings.RERANKER_BASE_URL = f"http://127.0.0.1:{server.server_port}/v1"
    settings.RERANKER_MODEL, settings.RERANKER_TIMEOUT_MS = "judge", 3000
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


ITEMS = [
    {"title": t, "content": f"Espresso. {'Filler words here. ' * n}", "external_id": t} for n, t in enumerate("abcd")
]


def test_the_reranker_orders_the_first_hits(fill: Fill, pack: KnowledgePack, reranker: type[Reranker]) -> None:
    fill(ITEMS)
    result = search([pack], "espresso", explain=True)
    assert names(result) == ["d", "c", "b", "a"]
    assert (result.explain or {})["reranker"] == "applied"
    (request,) = reranker.seen
    assert (request["path"], request["model"], request["query"]) == ("/v1/rerank", "judge", "espresso")


@pytest.mark.parametrize("fault", ["late", "error", "absent"])
def test_without_an_answer_the_fused_order_stands(
    fill: Fill, pack: KnowledgePack, reranker: type[Reranker], settings: Settings, fault: str
) -> None:
    fill(ITEMS)
    url, settings.RERANKER_BASE_URL = settings.RERANKER_BASE_URL, ""
    expected = names(search([pack], "espresso"))
    settings.RERANKER_BASE_URL = "http://127.0.0.1:9" if fault == "absent" else url
    if fault == "late":
        settings.RERANKER_TIMEOUT_MS, reranker.delay_s = 50, 0.5
    reranker.status = 500 if fault == "error" else 200
    began = time.monotonic()
    result = search([pack], "espresso", explain=True)
    assert names(result) == expected
    assert (result.explain or {})["reranker"] != "applied"
    assert time.monotonic() - began < 3
    assert not search([pack], "espresso", explain=True).cached  # it may answer next time
