"""How fast search is, by size of the pack, through ``knowledge.search``.

    python -m bench.search [--sizes 100,1000,5000,20000,100000] [--queries 60] [--write]

Packs of one-passage entries are written straight into the tables: English words, the embedding model's own vocabulary in its order of
frequency, drawn by Zipf's law, and vectors with twenty directions of meaning and noise (vectors drawn evenly from the sphere have no
neighbours, which no text has). Entries above ``ANN_BUILD_FROM`` get their index. Times are those of the whole call inside the server,
the query's embedding by the built-in model included; the machine's own load is part of them. "Cached" is the same search again. Packs
and their user are removed at the end.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from bench.report import publish, table
from bench.retrieval import percentile, remove
from bench.stack import database

if TYPE_CHECKING:
    from knowledge.models import EmbeddingSpace, KnowledgePack

DIMENSION, TOPICS, WORDS = 384, 20, 120
BATCH = 2_000
CLIENTS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description="time of a search by size of the pack")
    parser.add_argument("--sizes", default="100,1000,5000,20000,100000")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    database()
    rows: list[list[str]] = []
    notes: list[str] = []
    for size in (int(text) for text in options.sizes.split(",")):
        with made_pack(size) as (pack, space):
            rows += report(pack, options.queries)
            if space.ann_state == "ready":
                recall = _recall(space, options.queries)
                notes.append(f"recall@10 of the index of {size} against exact search: {recall:.4f}")
    head = ["entries", "mode", "path", "p50 ms", "p95 ms", "cached p50", f"{CLIENTS} clients p50", "p95", "searches/s"]
    publish("search", "\n\n".join([table(head, rows), *notes]), write=options.write)


@contextmanager
def made_pack(size: int) -> Iterator[tuple[KnowledgePack, EmbeddingSpace]]:
    from accounts.models import User
    from knowledge import ann, embeddings, services
    from knowledge.models import EmbeddingSpace

    user = User.objects.create_user(f"bench-{uuid4().hex}@example.org")
    space = None
    try:
        pack = services.create_pack(user, name=f"{size} entries", language="english")
        model = embeddings.get_embedder().model
        space = EmbeddingSpace.objects.create(pack=pack, model=model, dimension=DIMENSION, chunker_version=1)
        started = time.perf_counter()
        fill(pack, space, size)
        filled = time.perf_counter()
        built = ann.build(space.pk)
        _analyse()
        index = f", index built in {time.perf_counter() - filled:.0f} s" if built else ""
        print(f"# {size} entries written in {filled - started:.0f} s{index}", flush=True)
        pack.refresh_from_db()
        yield pack, EmbeddingSpace.objects.get(pk=space.pk)
    finally:
        if space is not None:
            ann.drop(space.pk)
        remove(user.pk)


def fill(pack: KnowledgePack, space: EmbeddingSpace, size: int) -> None:
    from django.db import transaction
    from pgvector import HalfVector

    from knowledge import models, passages, words

    dice = np.random.default_rng(size)
    directions = dice.standard_normal((TOPICS, DIMENSION))
    for first in range(0, size, BATCH):
        count = min(BATCH, size - first)
        texts = _texts(dice, count)
        vectors = _unit(
            dice.standard_normal((count, TOPICS)) @ directions + 0.5 * dice.standard_normal((count, DIMENSION))
        )
        entries = [
            models.Entry(
                pack=pack, title=f"Entry {first + n}", ordinal=first + n, content_hash=uuid4().hex, index_status="ready"
            )
            for n in range(count)
        ]
        revisions = [
            models.EntryRevision(
                entry=entry, number=1, title=entry.title, content=text, content_hash=entry.content_hash
            )
            for entry, text in zip(entries, texts, strict=True)
        ]
        pieces = [
            models.Passage(
                revision=r,
                entry=e,
                pack=pack,
                chunker_version=1,
                ordinal=0,
                start=0,
                end=len(r.content),
                text=r.content,
            )
            for e, r in zip(entries, revisions, strict=True)
        ]
        for entry, revision in zip(entries, revisions, strict=True):
            entry.revision = revision
        with transaction.atomic():
            models.Entry.objects.bulk_create(entries)
            models.EntryRevision.objects.bulk_create(revisions)
            models.Passage.objects.bulk_create(pieces)
            words.add(pack, [entry.pk for entry in entries])
            models.PassageVector.objects.bulk_create(
                models.PassageVector(space=space, passage=piece, pack=pack, embedding=HalfVector(vector))
                for piece, vector in zip(pieces, vectors, strict=True)
            )
            pack.entry_count += count
            pack.index_epoch += 1
            pack.status = models.PackStatus.ACTIVE
            pack.save(update_fields=["entry_count", "status", *passages.STATISTICS])


def _texts(dice: np.random.Generator, count: int, length: int = WORDS) -> list[str]:
    words = _vocabulary()
    ranks = np.minimum(dice.zipf(1.2, (count, length)), len(words)) - 1
    return [" ".join(words[rank] for rank in row) for row in ranks]


@cache
def _vocabulary() -> list[str]:
    from knowledge import minilm

    tokens = sorted(minilm.tokenizer(truncate=True).get_vocab().items(), key=lambda pair: pair[1])
    return [word for word, _ in tokens if len(word) > 1 and word.isascii() and word.isalpha()]


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def _analyse() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        for table in ("entry", "passage", "passagelexical", "entrylexical", "passagevector", "termstats"):
            cursor.execute(f"ANALYZE knowledge_{table}")


def report(pack: KnowledgePack, count: int) -> Iterator[list[str]]:
    from knowledge.search import search

    dice = np.random.default_rng(1)
    for mode in ("lexical", "semantic", "hybrid"):
        queries = [f"{text} {uuid4().hex[:6]}q" for text in _texts(dice, 2 * count, 8)]  # never asked before
        search([pack], "warm up", mode=mode)
        cold = [search([pack], text, mode=mode) for text in queries[:count]]
        cached = [search([pack], text, mode=mode).took_ms for text in queries[:count]]
        times, rate = _at_once(pack, queries[count:], mode)
        took = [result.took_ms for result in cold]
        figures = [statistics.median(took), percentile(took, 95), statistics.median(cached), statistics.median(times)]
        figures.append(percentile(times, 95))
        row = [str(pack.entry_count), mode, cold[-1].path, *(f"{value:.1f}" for value in figures), f"{rate:.0f}"]
        print(*row, flush=True)
        yield row


def _at_once(pack: KnowledgePack, queries: Sequence[str], mode: str) -> tuple[list[float], float]:
    from django.db import connection

    from knowledge.search import search

    def ask(text: str) -> float:
        try:
            return search([pack], text, mode=mode).took_ms
        finally:
            connection.close()  # back to the pool

    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        times = list(clients.map(ask, queries))
    return times, len(queries) / (time.perf_counter() - started)


def _recall(space: EmbeddingSpace, count: int) -> float:
    """For queries near stored vectors, as questions are near texts."""
    from knowledge import ann
    from knowledge.models import PassageVector

    dice = np.random.default_rng(2)
    stored = PassageVector.objects.filter(space=space).order_by("passage_id")[: 50 * count : 50]
    recalls = []
    for row in stored:
        near = _unit((np.asarray(row.embedding) + 0.03 * dice.standard_normal(DIMENSION))[None, :])[0].astype(
            np.float32
        )
        truth = ann.exact(space.pk, near, 10)
        recalls.append(len(set(truth) & set(ann.nearest(space.pk, near, 10))) / len(truth))
    return statistics.mean(recalls)


if __name__ == "__main__":
    main()
