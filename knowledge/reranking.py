"""An optional second opinion on the first hits: any server with ``POST /rerank`` as Cohere and Jina defined it (vLLM, Infinity).

Off unless ``RERANKER_BASE_URL`` is set. Time-boxed: when the server is late or fails, the order stays as it was.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from functools import cache
from typing import Any, Final

import httpx2
from django.conf import settings

log = logging.getLogger(__name__)

TOP: Final = 30  # hits that are scored


def enabled() -> bool:
    return bool(settings.RERANKER_BASE_URL)


def scores(query: str, texts: Sequence[str]) -> tuple[list[float] | None, str]:
    """The server's score of each text, or None; and what became of it: ``applied`` or a reason."""
    timeout = settings.RERANKER_TIMEOUT_MS / 1000
    # The client's own limits hold for each read and write; the future holds for all of them together.
    future = _pool().submit(_request, query, list(texts), timeout)
    try:
        return future.result(timeout), "applied"
    except LateError:
        future.cancel()
        return None, f"no answer within {settings.RERANKER_TIMEOUT_MS} ms"
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError, IndexError) as error:
        log.warning("the reranker failed: %s: %s", type(error).__name__, error)
        return None, f"failed: {type(error).__name__}"


def _request(query: str, texts: list[str], timeout: float) -> list[float]:
    headers = {"Authorization": f"Bearer {settings.RERANKER_API_KEY}"} if settings.RERANKER_API_KEY else {}
    body = {"model": settings.RERANKER_MODEL, "query": query, "documents": texts, "top_n": len(texts)}
    url = f"{settings.RERANKER_BASE_URL.rstrip('/')}/rerank"
    reply = _client().post(url, json=body, headers=headers, timeout=timeout)
    reply.raise_for_status()
    return _scores(reply.json()["results"], len(texts))


def _scores(results: Sequence[dict[str, Any]], count: int) -> list[float]:
    by_index = {int(row["index"]): float(row["relevance_score"]) for row in results}
    if sorted(by_index) != list(range(count)) or not all(math.isfinite(score) for score in by_index.values()):
        raise ValueError("not one finite score for each text")
    return [by_index[index] for index in range(count)]


@cache
def _client() -> httpx2.Client:
    return httpx2.Client()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=8, thread_name_prefix="rerank")
