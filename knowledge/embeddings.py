"""Texts to vectors: the built-in MiniLM, or any OpenAI-compatible endpoint.

A pack may name a registered model (``EmbeddingModel``); one that names none follows the settings. ``embedder_for`` makes the
embedder of either, ``embedder_in`` the one that a space was filled with.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

import httpx2
import numpy as np
import openai
from django.conf import settings
from numpy.typing import NDArray

from knowledge import minilm
from knowledge.errors import EmbeddingError
from knowledge.models import EmbeddingModel, EmbeddingSpace, Provider
from realtime.addresses import Blocked, reachable
from realtime.transport import GuardedTransport

Vector = NDArray[np.float32]
QUERY_CACHE = 1024
ENDPOINTS = 64  # clients that are kept open
SLICE = 64  # texts between two signs of life
REMOTE_BATCH = 64
REMOTE_BATCH_CHARS = 100_000
REMOTE_TIMEOUT_S = 20.0
# As many as may wait for embedding servers at once; the built-in model gains nothing from more than the cores.
_queries = ThreadPoolExecutor(32, thread_name_prefix="query-embedding")
_RETRYABLE_STATUS = {408, 409, 429}
_TEXT_AT_FAULT_STATUS = {400, 413, 422}


class Embedder(Hashable, Protocol):
    """Gives unit vectors. ``model`` and ``dimension`` name the space that they lie in. Raises ``EmbeddingError``."""

    @property
    def model(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]: ...

    def embed_query(self, text: str) -> Vector: ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server and how one of its models wants to be asked."""

    base_url: str
    api_key: str
    model: str
    dimension: int = 0  # 0: whatever the model gives
    send_dimension: bool = False
    batch_size: int = REMOTE_BATCH
    batch_chars: int = REMOTE_BATCH_CHARS
    query_prefix: str = ""
    passage_prefix: str = ""
    guarded: bool = False  # somebody typed the address in: it is called only where ``may_be_called`` says so


class RemoteEmbedder:
    """One pooled client of an endpoint; retries are the caller's (a task's) business."""

    def __init__(self, endpoint: Endpoint) -> None:
        if urlsplit(endpoint.base_url).scheme not in ("http", "https"):
            raise EmbeddingError("the address of an embedding server begins with http:// or https://", permanent=True)
        self.endpoint = endpoint
        http = _guarded_client() if endpoint.guarded else None
        if http is not None:
            weakref.finalize(self, http.close)  # as the SDK does with a client of its own
        self._client = openai.OpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key,
            timeout=REMOTE_TIMEOUT_S,
            max_retries=0,
            http_client=http,
        )

    @property
    def model(self) -> str:
        return self.endpoint.model

    @cached_property
    def dimension(self) -> int:
        return self.endpoint.dimension or len(self._request(["dimension"])[0])

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        prefixed = [self.endpoint.passage_prefix + text for text in texts]
        return [vector for batch in self._batches(prefixed) for vector in self._request(batch)]

    def embed_query(self, text: str) -> Vector:
        return self._request([self.endpoint.query_prefix + text])[0]

    def close(self) -> None:
        self._client.close()

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Within the endpoint's limits; a text that is over the limit of characters by itself goes alone."""
        batch: list[str] = []
        chars = 0
        for text in texts:
            if batch and (len(batch) >= self.endpoint.batch_size or chars + len(text) > self.endpoint.batch_chars):
                yield batch
                batch, chars = [], 0
            batch.append(text)
            chars += len(text)
        if batch:
            yield batch

    def _request(self, texts: Sequence[str]) -> list[Vector]:
        asked = self.endpoint.dimension if self.endpoint.send_dimension else openai.omit
        try:
            reply = self._client.embeddings.create(
                model=self.model, input=list(texts), dimensions=asked, encoding_format="float"
            )
            rows = [row.embedding for row in sorted(reply.data, key=lambda row: row.index)]
            vectors = [np.asarray(row, dtype=np.float32) for row in rows]
        except openai.APIStatusError as error:
            raise _refusal(error.status_code) from error
        except Blocked as error:
            raise EmbeddingError(error.detail, permanent=True, about_text=False) from error
        except openai.OpenAIError as error:
            raise EmbeddingError(f"the embedding server did not answer: {error}") from error
        except (AttributeError, TypeError, ValueError) as error:  # JSON of another shape, or no JSON at all
            raise EmbeddingError("the embedding server's answer holds no vectors", permanent=True) from error
        return self._checked(vectors, len(texts))

    def _checked(self, vectors: Sequence[Vector], count: int) -> list[Vector]:
        expected = self.endpoint.dimension
        shapes = {vector.shape for vector in vectors}
        widths = sorted({vector.size for vector in vectors})
        if len(vectors) != count or len(shapes) != 1 or (expected and shapes != {(expected,)}):
            raise EmbeddingError(
                f"the embedding server gave {len(vectors)} vectors of {widths} dimensions for {count} texts"
                f"{f'; {expected} dimensions were expected' if expected else ''}",
                permanent=True,
                about_text=False,
            )
        return [unit(vector) for vector in vectors]


def may_be_called(address: str) -> bool:
    """May we connect to it for a registered model? As for model profiles: public addresses, and ``LLM_PRIVATE_NETWORKS``."""
    return reachable(address, settings.LLM_PRIVATE_NETWORKS)


def _guarded_client() -> httpx2.Client:
    """A redirect would carry passages to a host that nobody registered."""
    return httpx2.Client(
        transport=GuardedTransport(may_be_called), timeout=REMOTE_TIMEOUT_S, trust_env=False, follow_redirects=False
    )


def _refusal(status: int) -> EmbeddingError:
    """What a status means. The server's own words are left out: they may repeat a key, and readers of a pack see this."""
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "?"
    return EmbeddingError(
        f"the embedding server answered {status} ({phrase})",
        permanent=status < 500 and status not in _RETRYABLE_STATUS,
        about_text=status in _TEXT_AT_FAULT_STATUS,
    )


def unit(vector: Vector) -> Vector:
    """The vector scaled to length 1. A zero or non-finite vector has no direction, and cosine with it is undefined."""
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0.0:
        raise EmbeddingError("the embedding model gave a vector without a direction", permanent=True)
    scaled: Vector = (vector / length).astype(np.float32)
    return scaled


# --- Which embedder -------------------------------------------------------------------------------------------------


def get_embedder() -> Embedder:
    """The embedder that the settings name; made once for each process and configuration."""
    if not settings.EMBEDDING_BASE_URL:
        return built_in()
    dimension = settings.EMBEDDING_DIMENSION
    return _remote(
        Endpoint(
            settings.EMBEDDING_BASE_URL,
            settings.EMBEDDING_API_KEY,
            settings.EMBEDDING_MODEL,
            dimension,
            bool(dimension),
        )
    )


def default_name() -> str:
    """The name of the settings' model, without loading it."""
    return settings.EMBEDDING_MODEL if settings.EMBEDDING_BASE_URL else minilm.NAME


def embedder_for(model: EmbeddingModel | None) -> Embedder:
    """The embedder of a registered model, or (None) the one that the settings name. Raises ``EmbeddingError`` when the environment
    lacks its key. One is made for each set of the row's values, so that an edit takes effect at once, in every process."""
    if model is None:
        return get_embedder()
    if model.provider == Provider.BUILTIN:
        return built_in()
    return _remote(
        Endpoint(
            base_url=model.base_url,
            api_key=_key(model.api_key_env),
            model=model.model,
            dimension=model.dimension,
            send_dimension=model.send_dimension,
            batch_size=model.batch_size,
            batch_chars=model.batch_chars,
            query_prefix=model.query_prefix,
            passage_prefix=model.passage_prefix,
            guarded=True,
        )
    )


def embedder_in(space: EmbeddingSpace) -> Embedder:
    """The embedder whose vectors the space holds. Raises ``EmbeddingError`` when the settings named it once and do not any more."""
    if space.embedding is not None:
        return embedder_for(space.embedding)
    if space.model == default_name():
        return get_embedder()
    if space.model == minilm.NAME:
        return built_in()
    raise EmbeddingError(
        f"the settings name {default_name()} and no longer {space.model}", permanent=True, about_text=False
    )


def obtainable() -> set[str]:
    """Names of the models that can be had without a registered endpoint."""
    return {default_name(), minilm.NAME}


def built_in() -> minilm.MiniLM:
    return _built_in(str(settings.DATA_DIR), getattr(settings, "EMBEDDING_THREADS", 0))


def _key(variable: str) -> str:
    """The key in an environment variable; servers that want none are given a word, for the client insists on one."""
    if not variable:
        return "none"
    key = os.environ.get(variable, "")
    if not key:
        raise EmbeddingError(
            f"the environment variable {variable}, which holds the embedding server's key, is not set",
            permanent=True,
            about_text=False,
        )
    return key


# --- Queries and passages -------------------------------------------------------------------------------------------


def query_vector(text: str, model: EmbeddingModel | None = None) -> Vector:
    """The query's vector; repeated queries (every seat of a council may ask the same) cost nothing."""
    return _query_vector(embedder_for(model), text)


def query_vector_soon(space: EmbeddingSpace, text: str) -> Future[Vector]:
    """The query as a vector to compare with those of the space, while the caller asks the database something else. It raises
    ``EmbeddingError`` when the space's model cannot be had or has another dimension by now."""
    try:
        embedder = embedder_in(space)
    except EmbeddingError as error:
        failed: Future[Vector] = Future()
        failed.set_exception(error)
        return failed
    return _queries.submit(_query_vector_of, embedder, text, space.dimension)


def _query_vector_of(embedder: Embedder, text: str, dimension: int) -> Vector:
    vector = _query_vector(embedder, text)
    if len(vector) != dimension:
        raise EmbeddingError(f"{embedder.model} gives {len(vector)} dimensions and no longer {dimension}")
    return vector


def embed_all(embedder: Embedder, texts: Sequence[str], beat: Callable[[], object]) -> list[Vector]:
    """The texts' vectors, all of one dimension, in order. ``beat`` is called after every ``SLICE`` texts, for leases to be renewed.

    Texts of like length go together across the whole list, for a batch costs as much as its longest text in each place.
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors: dict[int, Vector] = {}
    for first in range(0, len(order), SLICE):
        places = order[first : first + SLICE]
        vectors.update(zip(places, embedder.embed_passages([texts[i] for i in places]), strict=True))
        beat()
    if len(widths := {len(vector) for vector in vectors.values()}) > 1:
        raise EmbeddingError(f"the model gave vectors of different dimensions: {sorted(widths)}", permanent=True)
    return [vectors[i] for i in range(len(texts))]


@lru_cache(maxsize=QUERY_CACHE)
def _query_vector(embedder: Embedder, text: str) -> Vector:
    return embedder.embed_query(text)


@lru_cache(maxsize=ENDPOINTS)
def _remote(endpoint: Endpoint) -> RemoteEmbedder:
    return RemoteEmbedder(endpoint)


@cache
def _built_in(data_dir: str, threads: int) -> minilm.MiniLM:  # the directory is part of the key
    return minilm.MiniLM(minilm.ensure_built(), threads)
