"""How good and how fast search is, through the product's own code path.

    python -m bench.retrieval FOLDER [--limit-queries N]

``FOLDER`` holds ``corpus.jsonl.gz`` {id, title, text}, ``queries.jsonl.gz`` {id, text} and ``qrels.tsv`` (query, document, grade). A
user and a pack are made in the configured database and removed afterwards. Prints nDCG@10 (Järvelin & Kekäläinen 2002, with
exponential gain 2^grade − 1 as in TREC's tools for BEIR) and the median and 95th percentile of the time for each mode.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

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
    import django

    django.setup()
    queries = read_jsonl(options.folder / "queries.jsonl.gz")
    judged = read_judgements(options.folder / "qrels.tsv")
    asked = [query for query in queries if judged.get(query["id"])]
    with throwaway_pack(options.folder.name) as pack:
        fill(pack, read_jsonl(options.folder / "corpus.jsonl.gz"))
        report(pack, asked[: options.limit_queries or None], judged)


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
    for model in (models.PassageVector, models.PassageLexical, models.TermStats, models.EmbeddingSpace):
        model.objects.filter(pack__in=packs)._raw_delete("default")  # a cascade would load each row
    User.objects.get(pk=user_id).delete()


def fill(pack: KnowledgePack, documents: Sequence[Mapping[str, Any]]) -> None:
    from knowledge import indexing, services

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
    pack.refresh_from_db()
    print(f"{len(items)} entries, {pack.passage_count} passages: committed in {committed - started:.1f} s, "
          f"vectors in {time.perf_counter() - committed:.1f} s")  # fmt: skip


def report(pack: KnowledgePack, queries: Sequence[Mapping[str, Any]], judged: Judgements) -> None:
    from knowledge.search import search

    search([pack], "warm the model up")
    print(f"{'mode':10} {'nDCG@10':>8} {'p50 ms':>8} {'p95 ms':>8}   ({len(queries)} queries)")
    for mode in MODES:
        scores, times = [], []
        for query in queries:
            result = search([pack], query["text"], mode=mode)
            scores.append(ndcg([hit.external_id or "" for hit in result.hits], judged[query["id"]]))
            times.append(result.took_ms)
        print(f"{mode:10} {statistics.mean(scores):8.4f} {statistics.median(times):8.1f} {percentile(times, 95):8.1f}")
        sys.stdout.flush()


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
