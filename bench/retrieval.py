"""How good and how fast search is, through the product's own code path.

    python -m bench.retrieval FOLDER… [--limit-queries N] [--write]

Each ``FOLDER`` holds one collection: ``corpus.jsonl.gz`` {id, title, text}, ``queries.jsonl.gz`` {id, text} and ``qrels.tsv`` (query,
document, grade). A user and a pack are made in a database of the benches' own and removed afterwards. Reports nDCG@10 (Järvelin &
Kekäläinen 2002, with exponential gain 2^grade − 1), recall@10 and @100, and the median and 95th percentile of the time, for each mode
and for a reference: bm25s (Lù 2024, arXiv 2407.03618) over whole documents as it comes (Lucene's form, k1 1.5, b 0.75, its short list of
English stop words), with the stemmer that PostgreSQL has, Snowball's.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import bm25s
import Stemmer

from bench.report import publish, table
from bench.stack import database

if TYPE_CHECKING:
    from knowledge.models import KnowledgePack

MODES = ("lexical", "semantic", "hybrid")
CHUNK = 200

Judgements = Mapping[str, Mapping[str, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description="nDCG@10, recall and latency of the three search modes")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--limit-queries", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    os.environ["SEARCH_CACHE_S"] = "0"  # the time of a search, not of a look-up
    database()
    rows = [row for folder in options.folders for row in measured(folder, options.limit_queries)]
    head = ["collection", "by", "nDCG@10", "recall@10", "recall@100", "p50 ms", "p95 ms"]
    publish("retrieval", table(head, rows), write=options.write)


def measured(folder: Path, limit: int) -> list[list[str]]:
    documents = read_jsonl(folder / "corpus.jsonl.gz")
    judged = read_judgements(folder / "qrels.tsv")
    asked = [query for query in read_jsonl(folder / "queries.jsonl.gz") if judged.get(query["id"])][: limit or None]
    with throwaway_pack(folder.name) as pack:
        fill(pack, documents)
        rows = list(report(pack, asked, judged))
    rows.append(_row("bm25s", reference(documents, asked), judged))
    return [[f"{folder.name} ({len(asked)})", *row] for row in rows]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def read_judgements(path: Path) -> Judgements:
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for line in path.read_text().splitlines():
        query, document, grade = line.split("\t")
        if grade.lstrip("-").isdigit() and int(grade) > 0:
            judged[query][document] = int(grade)
    return judged


@contextmanager
def throwaway_pack(name: str) -> Iterator[KnowledgePack]:
    from accounts.models import User
    from knowledge import services

    user = User.objects.create_user(f"bench-{uuid4().hex}@example.org")
    try:
        yield services.create_pack(user, name=name)
    finally:
        remove(user.pk)


def remove(user_id: UUID) -> None:
    """Delete the user and their packs with everything in them, as a purge does."""
    from accounts.models import User
    from knowledge.models import KnowledgePack
    from knowledge.services import purging

    packs = KnowledgePack.objects.filter(owner=user_id)
    packs.update(status="deleted", deleted_at=datetime.fromtimestamp(0, tz=UTC))
    for pack in packs:
        purging.purge(pack.pk)
    User.objects.get(pk=user_id).delete()


def fill(pack: KnowledgePack, documents: Sequence[Mapping[str, Any]]) -> None:
    from knowledge import indexing, reweighing, services

    items = [
        {
            "title": (document["title"].strip() or document["id"])[:200],
            "content": f"{document['title']}\n\n{document['text']}".strip()
            or document["id"],  # as in the published runs
            "external_id": document["id"],
        }
        for document in documents
    ]
    started = time.perf_counter()
    for first in range(0, len(items), CHUNK):
        failed = [
            r for r in services.add_entries(pack, None, items[first : first + CHUNK], on_duplicate="skip") if r.errors
        ]
        assert not failed, failed[0].errors
    committed = time.perf_counter()
    while indexing.index_once(pack.pk):
        pass
    reweighing.work(pack.pk)
    pack.refresh_from_db()
    print(f"{len(items)} entries, {pack.passage_count} passages: committed in {committed - started:.1f} s, "
          f"vectors in {time.perf_counter() - committed:.1f} s")  # fmt: skip


def report(pack: KnowledgePack, queries: Sequence[Mapping[str, Any]], judged: Judgements) -> Iterator[list[str]]:
    from knowledge.search import search

    search([pack], "warm the model up")
    for mode in MODES:
        times, found = [], {}
        for query in queries:
            times.append(search([pack], query["text"], mode=mode).took_ms)  # as most clients ask
            hits = search([pack], query["text"], mode=mode, limit=100).hits
            found[query["id"]] = [hit.external_id or "" for hit in hits]
        yield _row(mode, found, judged, times)


def _row(
    name: str, found: Mapping[str, Sequence[str]], judged: Judgements, times: Sequence[float] | None = None
) -> list[str]:
    quality = statistics.mean(ndcg(ids, judged[query]) for query, ids in found.items())
    recalls = [
        statistics.mean(recall(ids[:depth], judged[query]) for query, ids in found.items()) for depth in (10, 100)
    ]
    took = [f"{statistics.median(times):.1f}", f"{percentile(times, 95):.1f}"] if times else ["", ""]
    row = [name, f"{quality:.4f}", *(f"{value:.4f}" for value in recalls), *took]
    print(*row, flush=True)
    return row


def reference(documents: Sequence[Mapping[str, Any]], queries: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The first hundred documents of each query by bm25s over title and text."""
    prepare = {"stopwords": "en", "stemmer": Stemmer.Stemmer("english"), "show_progress": False}
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    texts = [f"{document['title']}\n{document['text']}" for document in documents]
    index.index(bm25s.tokenize(texts, **prepare), show_progress=False)
    asked = bm25s.tokenize([query["text"] for query in queries], **prepare)
    places, scores = index.retrieve(asked, k=100, show_progress=False)
    return {
        query["id"]: [documents[place]["id"] for place, score in zip(*row, strict=True) if score > 0]
        for query, *row in zip(queries, places, scores, strict=True)
    }


def recall(found: Sequence[str], grades: Mapping[str, int]) -> float:
    return len(set(found) & set(grades)) / len(grades)


def ndcg(found: Sequence[str], grades: Mapping[str, int], depth: int = 10) -> float:
    gains = [2 ** grades.get(document, 0) - 1 for document in found[:depth]]
    ideal = sorted((2**grade - 1 for grade in grades.values()), reverse=True)[:depth]
    return _dcg(gains) / _dcg(ideal)


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    main()
