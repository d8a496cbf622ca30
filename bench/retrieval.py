"""How good and how fast search is, through the product's own code path.

    python -m bench.retrieval FOLDER [--limit-queries N]

``FOLDER`` holds ``corpus.jsonl.gz`` {id, title, text}, ``queries.jsonl.gz`` {id, text} and ``qrels.tsv`` (query, document, grade). A
user and a pack are made in the configured database and removed afterwards. Prints nDCG@10 (Järvelin & Kekäläinen 2002, with
exponential gain 2^grade − 1), recall@10 and @100, and the median and 95th percentile of the time, for each mode and for a reference:
BM25 over whole documents in numpy (Lucene's form, k1 1.5, b 0.75, as bm25s has it) with the database's own stemmer.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import numpy as np

if TYPE_CHECKING:
    from knowledge.models import KnowledgePack

MODES = ("lexical", "semantic", "hybrid")
CHUNK = 200

Judgements = Mapping[str, Mapping[str, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description="nDCG@10 and latency of the three search modes")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit-queries", type=int, default=0)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ["SEARCH_CACHE_S"] = "0"  # the time of a search, not of a look-up
    import django

    django.setup()
    documents = read_jsonl(options.folder / "corpus.jsonl.gz")
    queries = read_jsonl(options.folder / "queries.jsonl.gz")
    judged = read_judgements(options.folder / "qrels.tsv")
    asked = [query for query in queries if judged.get(query["id"])]
    with throwaway_pack(options.folder.name) as pack:
        fill(pack, documents)
        report(pack, documents, asked[: options.limit_queries or None], judged)


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
    """Delete the user's packs with everything in them, in the order that foreign keys ask for."""
    from accounts.models import User
    from knowledge import models

    packs = models.KnowledgePack.objects.filter(owner=user_id)
    for model in (
        models.PassageVector,
        models.PassageLexical,
        models.EntryLexical,
        models.TermStats,
        models.EmbeddingSpace,
    ):
        model.objects.filter(pack__in=packs)._raw_delete("default")  # a cascade would load each row
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


def report(
    pack: KnowledgePack,
    documents: Sequence[Mapping[str, Any]],
    queries: Sequence[Mapping[str, Any]],
    judged: Judgements,
) -> None:
    from knowledge.search import search

    search([pack], "warm the model up")
    print(f"{'mode':10} {'nDCG@10':>8} {'R@10':>8} {'R@100':>8} {'p50 ms':>8} {'p95 ms':>8}   ({len(queries)} queries)")
    for mode in MODES:
        times, found = [], {}
        for query in queries:
            times.append(search([pack], query["text"], mode=mode).took_ms)  # as most clients ask
            hits = search([pack], query["text"], mode=mode, limit=100).hits
            found[query["id"]] = [hit.external_id or "" for hit in hits]
        _line(mode, found, judged, f"{statistics.median(times):8.1f} {percentile(times, 95):8.1f}")
    _line("reference", reference(pack, documents, queries), judged)


def _line(name: str, found: Mapping[str, Sequence[str]], judged: Judgements, times: str = "") -> None:
    quality = statistics.mean(ndcg(ids, judged[query]) for query, ids in found.items())
    recalls = [
        statistics.mean(recall(ids[:depth], judged[query]) for query, ids in found.items()) for depth in (10, 100)
    ]
    print(f"{name:10} {quality:8.4f} {recalls[0]:8.4f} {recalls[1]:8.4f} {times}", flush=True)


def reference(
    pack: KnowledgePack, documents: Sequence[Mapping[str, Any]], queries: Sequence[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """The first hundred documents of each query by BM25 over title and text."""
    ids = [document["id"] for document in documents]
    counts = lexemes(pack, [f"{document['title']}\n{document['text']}" for document in documents])
    lengths = np.array([sum(count.values()) for count in counts], dtype=float)
    norms = 1.5 * (0.25 + 0.75 * lengths / lengths.mean())
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for place, count in enumerate(counts):
        for lexeme, frequency in count.items():
            postings[lexeme].append((place, frequency))
    found = {}
    for query, asked in zip(queries, lexemes(pack, [query["text"] for query in queries]), strict=True):
        scores = np.zeros(len(ids))
        for lexeme, repeated in asked.items():
            if held := postings.get(lexeme):
                places, frequencies = np.array(held).T
                idf = math.log(1 + (len(ids) - len(held) + 0.5) / (len(held) + 0.5))
                scores[places] += repeated * idf * frequencies / (frequencies + norms[places])
        best = np.argsort(-scores, kind="stable")[:100]
        found[query["id"]] = [ids[place] for place in best if scores[place] > 0]
    return found


def lexemes(pack: KnowledgePack, texts: Sequence[str]) -> list[Counter[str]]:
    """Stems of each text and how often they stand in it, by the pack's own text search configuration."""
    from django.db import connection

    counts: list[Counter[str]] = [Counter() for _ in texts]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.place - 1, w.lexeme, cardinality(w.positions) FROM unnest(%s::text[]) WITH ORDINALITY AS t(text, place),"
            " unnest(to_tsvector(%s::text::regconfig, t.text)) AS w",
            [list(texts), pack.text_config],
        )
        for place, lexeme, frequency in cursor.fetchall():
            counts[place][lexeme] = frequency
    return counts


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
