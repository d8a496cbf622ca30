"""Texts to vectors: the built-in MiniLM, or any OpenAI-compatible endpoint when ``EMBEDDING_BASE_URL`` is set."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache, cached_property, lru_cache
from typing import Protocol

import numpy as np
import openai
from django.conf import settings
from numpy.typing import NDArray

from knowledge import minilm
from knowledge.errors import EmbeddingError
from knowledge.models import EmbeddingModel

Vector = NDArray[np.float32]
QUERY_CACHE = 1024
REMOTE_BATCH = 64
REMOTE_TIMEOUT_S = 20.0
_RETRYABLE_STATUS = {408, 409, 429}


class Embedder(Hashable, Protocol):
    """Gives unit vectors. ``model`` and ``dimension`` name the space that they lie in. Raises ``EmbeddingError``."""

    @property
    def model(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]: ...

    def embed_query(self, text: str) -> Vector: ...


class RemoteEmbedder:
    """An OpenAI-compatible ``/embeddings`` endpoint. One pooled client; retries are the caller's (a task's) business."""

    def __init__(self, base_url: str, api_key: str, model: str, dimension: int = 0) -> None:
        self.model = model
        self._asked = dimension  # 0: whatever the model gives
        self._client = openai.OpenAI(base_url=base_url, api_key=api_key, timeout=REMOTE_TIMEOUT_S, max_retries=0)

    @cached_property
    def dimension(self) -> int:
        return self._asked or len(self._request(["dimension"])[0])

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        batches = (texts[first : first + REMOTE_BATCH] for first in range(0, len(texts), REMOTE_BATCH))
        return [vector for batch in batches for vector in self._request(batch)]

    def embed_query(self, text: str) -> Vector:
        return self._request([text])[0]

    def close(self) -> None:
        self._client.close()

    def _request(self, texts: Sequence[str]) -> list[Vector]:
        dimensions = self._asked or openai.omit
        try:
            reply = self._client.embeddings.create(
                model=self.model, input=list(texts), dimensions=dimensions, encoding_format="float"
            )
        except openai.APIStatusError as error:
            permanent = error.status_code < 500 and error.status_code not in _RETRYABLE_STATUS
            raise EmbeddingError(f"the embedding server answered {error.status_code}", permanent=permanent) from error
        except openai.OpenAIError as error:
            raise EmbeddingError(f"the embedding server did not answer: {error}") from error
        rows = sorted(reply.data, key=lambda row: row.index)
        return self._checked([row.embedding for row in rows], len(texts))

    def _checked(self, rows: Sequence[Sequence[float]], count: int) -> list[Vector]:
        vectors = [np.asarray(row, dtype=np.float32) for row in rows]
        widths = {len(vector) for vector in vectors}
        if len(vectors) != count or len(widths) != 1 or (self._asked and widths != {self._asked}):
            raise EmbeddingError(
                f"the embedding server gave {len(vectors)} vectors of {sorted(widths)} dimensions "
                f"for {count} texts (EMBEDDING_DIMENSION is {self._asked or 'not set'})",
                permanent=True,
            )
        return [unit(vector) for vector in vectors]


def unit(vector: Vector) -> Vector:
    """The vector scaled to length 1. A zero or non-finite vector has no direction, and cosine with it is undefined."""
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0.0:
        raise EmbeddingError("the embedding model gave a vector without a direction", permanent=True)
    scaled: Vector = (vector / length).astype(np.float32)
    return scaled


def get_embedder() -> Embedder:
    """The embedder that the settings name; made once for each process and configuration."""
    if settings.EMBEDDING_BASE_URL:
        return _remote(
            settings.EMBEDDING_BASE_URL,
            settings.EMBEDDING_API_KEY,
            settings.EMBEDDING_MODEL,
            settings.EMBEDDING_DIMENSION,
        )
    return _built_in(str(settings.DATA_DIR), getattr(settings, "EMBEDDING_THREADS", 0))


def embedder_for(model: EmbeddingModel | None) -> Embedder:
    """The embedder of a registered model; None is the one that the settings name."""
    return get_embedder()


def query_vector(text: str, model: EmbeddingModel | None = None) -> Vector:
    """The query's vector; repeated queries (every seat of a council may ask the same) cost nothing."""
    return _query_vector(embedder_for(model), text)


@lru_cache(maxsize=QUERY_CACHE)
def _query_vector(embedder: Embedder, text: str) -> Vector:
    return embedder.embed_query(text)


@cache
def _remote(base_url: str, api_key: str, model: str, dimension: int) -> RemoteEmbedder:
    return RemoteEmbedder(base_url, api_key, model, dimension)


@cache
def _built_in(data_dir: str, threads: int) -> minilm.MiniLM:  # the directory is part of the key
    return minilm.MiniLM(minilm.ensure_built(), threads)
