"""The built-in model: real weights, real arithmetic."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from pytest_django import Settings

from knowledge import embeddings, minilm, minilm_build
from knowledge.errors import EmbeddingError

EATING, BREAD = "A man is eating food.", "A man is eating a piece of bread."
BABY, VECTORS = "The girl is carrying a baby.", "PostgreSQL stores vectors efficiently."


@pytest.fixture(scope="module")
def model() -> minilm.MiniLM:
    return minilm.MiniLM(minilm.ensure_built())


def test_near_sentences_are_nearer_than_far_ones(model: minilm.MiniLM) -> None:
    a, b, c, d = model.embed_passages([EATING, BREAD, BABY, VECTORS])
    # The published value of this pair for all-MiniLM-L6-v2 is 0.7553.
    assert float(a @ b) == pytest.approx(0.755, abs=0.03)
    assert max(float(a @ c), float(a @ d)) < 0.2


def test_vectors_are_unit_and_do_not_depend_on_their_batch(model: minilm.MiniLM) -> None:
    texts = [EATING, "word " * 400, BREAD]
    together = model.embed_passages(texts)
    alone = [model.embed_query(text) for text in texts]
    assert [np.linalg.norm(v) for v in together] == pytest.approx([1, 1, 1], abs=1e-5)
    # Dynamic quantisation scales a whole batch's activations together, so the last digits may differ.
    assert all(float(x @ y) > 0.98 for x, y in zip(together, alone, strict=True))


def test_int8_stays_close_to_the_original_weights(model: minilm.MiniLM, tmp_path: Path) -> None:
    graph = minilm_build.build(minilm_build.read_safetensors(minilm._weights("model.safetensors")))
    exact = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    for text in (EATING, BREAD, VECTORS, "laminar flow over a flat plate " * 20):
        ids = np.array([model._tokenizer.encode(text).ids])
        (reference,) = exact.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        assert float(reference[0] @ model.embed_query(text)) > 0.98


def test_a_damaged_file_is_made_again(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    path = minilm.ensure_built()
    intact = path.read_bytes()
    path.write_bytes(intact[:-1] + b"\x00")
    assert minilm.ensure_built().read_bytes() != intact[:-1] + b"\x00"
    made = path.stat().st_mtime_ns
    started = time.perf_counter()
    assert minilm.ensure_built().stat().st_mtime_ns == made  # idempotent
    assert time.perf_counter() - started < 2


def test_another_file_than_upstreams_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(minilm._SHA256, "tokenizer.json", "0" * 64)
    with pytest.raises(EmbeddingError, match="not the upstream file"):
        minilm._weights("tokenizer.json")


def test_equal_queries_are_embedded_once() -> None:
    embeddings._query_vector.cache_clear()
    first = embeddings.query_vector("how do council seats vote")
    assert embeddings.query_vector("how do council seats vote") is first
    assert embeddings._query_vector.cache_info().hits == 1
