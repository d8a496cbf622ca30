"""An OpenAI-compatible embeddings endpoint, spoken to over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pytest_django import Settings

from knowledge.embeddings import Endpoint, RemoteEmbedder, get_embedder
from knowledge.errors import EmbeddingError


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        server.requests.append((self.path, self.headers["Authorization"], body))
        rows = [
            {"object": "embedding", "index": i, "embedding": [float(len(text)), 3.0, 4.0][: server.width]}
            for i, text in enumerate(body["input"])
        ]
        # Out of order on purpose: the index counts, not the place.
        answer = {
            "object": "list",
            "model": body["model"],
            "data": rows[::-1],
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        }
        payload = json.dumps(answer).encode()
        self.send_response(server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.requests, server.status, server.width = [], 200, 3
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def embedder(server: Any) -> Iterator[RemoteEmbedder]:
    embedder = RemoteEmbedder(Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "secret", "some-model"))
    yield embedder
    embedder.close()


def test_vectors_come_back_in_order_and_scaled_to_unit_length(embedder: RemoteEmbedder, server: Any) -> None:
    first, second = embedder.embed_passages(["", "x" * 12])
    assert first.tolist() == pytest.approx([0.0, 0.6, 0.8])
    assert second.tolist() == pytest.approx([12 / 13, 3 / 13, 4 / 13])
    path, key, body = server.requests[0]
    assert (path, key, body["model"]) == ("/v1/embeddings", "Bearer secret", "some-model")


def test_many_texts_go_in_batches(embedder: RemoteEmbedder, server: Any) -> None:
    assert len(embedder.embed_passages(["text"] * 130)) == 130
    assert [len(body["input"]) for _, _, body in server.requests] == [64, 64, 2]


def test_the_dimension_is_found_out_when_it_is_not_set(embedder: RemoteEmbedder) -> None:
    assert embedder.dimension == 3


@pytest.mark.parametrize(("status", "permanent"), [(400, True), (401, True), (429, False), (500, False), (503, False)])
def test_refusals_say_whether_trying_again_helps(
    embedder: RemoteEmbedder, server: Any, status: int, permanent: bool
) -> None:
    server.status = status
    with pytest.raises(EmbeddingError, match=str(status)) as caught:
        embedder.embed_query("text")
    assert caught.value.permanent is permanent


def test_a_server_that_is_not_there_may_be_there_later() -> None:
    embedder = RemoteEmbedder(Endpoint("http://127.0.0.1:9/v1", "none", "model"))
    with pytest.raises(EmbeddingError) as caught:
        embedder.embed_query("text")
    embedder.close()
    assert not caught.value.permanent


def test_a_dimension_other_than_the_configured_one_is_refused(server: Any) -> None:
    embedder = RemoteEmbedder(Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "none", "model", dimension=8))
    with pytest.raises(EmbeddingError, match="8 dimensions were expected"):
        embedder.embed_query("text")
    embedder.close()


def test_settings_choose_the_endpoint(settings: Settings, server: Any) -> None:
    settings.EMBEDDING_BASE_URL = f"http://127.0.0.1:{server.server_port}/v1"
    settings.EMBEDDING_MODEL = "chosen"
    embedder = get_embedder()
    assert (embedder.model, embedder.dimension) == ("chosen", 3)
    assert isinstance(embedder, RemoteEmbedder)
    embedder.close()


def test_an_address_that_somebody_typed_in_is_called_only_where_the_settings_allow(
    server: Any, settings: Settings
) -> None:
    typed = Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "secret", "some-model", guarded=True)
    settings.LLM_PRIVATE_NETWORKS = []
    with pytest.raises(EmbeddingError, match="may be called") as caught:
        RemoteEmbedder(typed).embed_query("why")
    assert (caught.value.permanent, caught.value.about_text, server.requests) == (True, False, [])
    settings.LLM_PRIVATE_NETWORKS = ["127.0.0.0/8"]
    assert len(RemoteEmbedder(typed).embed_query("why")) == 3
