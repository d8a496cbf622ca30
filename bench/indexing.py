"""How close indexing comes to the model's own speed, and that a killed worker loses nothing.

    python -m bench.indexing [--entries 10000] [--kill 2] [--folder FOLDER] [--raw 1500] [--write]

Starts the whole stack (`manage.py up`) and measures on the same cores: *raw*, the embedding model alone on a sample of the very texts
that will be embedded, sorted by length as a whole, before and after; and *pipeline*, entries posted in arrays of 500 over HTTP until
all are ready. ``--kill N`` sends the index worker SIGKILL N times on the way. ``FOLDER`` may hold a ``corpus.jsonl.gz`` {id, title,
text} to take the entries from; otherwise they are made of a small vocabulary, 20 to 180 words each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.report import publish, table
from bench.stack import quorum_in_folder
from config.terminal import Client

ARRAY = 500
POLL_S = 0.5
PACK = "Benchmark"
VOCABULARY = (
    "the of and to in a is that for it as was with be by on not he his but at are this have from or had "
    "an they which one you were all her she there would their we him been has when who will no more if "
    "out so up said what its about than into them can only other time new some could these two may first "
    "then do any like my now over such our man me even most made after also did many off before must well "
    "back through years much where your way down should because long each just state those people how too "
    "pressure temperature boundary layer flow heat transfer velocity surface protein cell gene expression "
    "receptor patients trial energy panel inverter battery grid voltage wall insulation pump efficiency "
    "storage demand tariff roof module current "
)
WORDS = VOCABULARY.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--kill", type=int, default=0)
    parser.add_argument("--raw", type=int, default=1500, help="texts of the raw measurement")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    entries = corpus(chosen.folder, chosen.entries) if chosen.folder else made_up(chosen.entries)
    with quorum_in_folder() as (client, folder):
        known = json.loads((folder / "services.json").read_text())
        prepare_django(folder, known)
        texts = random.Random(1).sample(all_texts(entries), k=min(chosen.raw, len(entries)))
        before = raw(texts)
        run = Pipeline(client, folder, known["database_url"], entries, chosen.kill)
        run.measure()
        after = raw(texts)
        publish("indexing", run.report(before, after), write=chosen.write)


def made_up(count: int) -> list[dict[str, str]]:
    chance = random.Random(7)
    return [
        {
            "title": " ".join(chance.choices(WORDS, k=5)).capitalize(),
            "content": " ".join(chance.choices(WORDS, k=chance.randint(20, 180))),
            "external_id": f"e{number}",
        }
        for number in range(count)
    ]


def corpus(folder: Path, count: int) -> list[dict[str, str]]:
    from bench.retrieval import read_jsonl

    rows = read_jsonl(folder / "corpus.jsonl.gz")[:count]
    return [
        {
            "title": (row["title"].strip() or row["id"])[:200],
            "content": f"{row['title']}\n\n{row['text']}".strip() or row["id"],
            "external_id": row["id"],
        }
        for row in rows
    ]


def prepare_django(folder: Path, known: dict[str, Any]) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    os.environ["QUORUM_DATA_DIR"] = str(folder)
    os.environ["DATABASE_URL"] = known["database_url"]
    import django

    django.setup()


def all_texts(entries: Sequence[dict[str, str]]) -> list[str]:
    """What the index workers will embed."""
    from knowledge import passages

    return [
        passages.text_to_embed(PACK, entry["title"], chunk.heading, entry["content"][chunk.start : chunk.end])
        for entry in entries
        for chunk in passages.cut(entry["content"])
    ]


def raw(texts: Sequence[str]) -> Raw:
    """The model alone."""
    from knowledge import embeddings

    embedder = embeddings.get_embedder()
    embedder.embed_passages(texts[:8])
    started, cpu = time.perf_counter(), time.process_time()
    embedder.embed_passages(texts)
    return Raw(len(texts) / (time.perf_counter() - started), (time.process_time() - cpu) / len(texts))


@dataclass(frozen=True)
class Raw:
    rate: float  # texts in a second
    cpu: float  # seconds of both cores for one text: what counts on a machine that others use as well


def cpu_seconds(root: int) -> float:
    """Processor time of a process and all that it has started and started again, since they began."""
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(stat.parent.name)
        parents[pid] = int(fields[1])
        spent[pid] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    mine = {root}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(spent.get(pid, 0.0) for pid in mine)


class Pipeline:
    """One pack, filled over HTTP and watched in the database."""

    def __init__(
        self, client: Client, folder: Path, database_url: str, entries: Sequence[dict[str, str]], kills: int
    ) -> None:
        self.client, self.folder, self.entries = client, folder, entries
        self.database = psycopg.connect(database_url, autocommit=True)
        self.kill_at = [len(entries) * (n + 1) // (kills + 1) for n in range(kills)]
        self.killed: list[int] = []
        self.posted_s = self.ready_s = self.cpu = self.cpu_posting = 0.0
        self.ready_when_posted = 0
        self.pack = ""

    def measure(self) -> None:
        self.pack = self.client.call("POST", "/api/knowledge-packs", {"name": PACK})["id"]
        up = json.loads((self.folder / "services.json").read_text())["pids"]["up"]
        cpu = cpu_seconds(up)
        started = time.perf_counter()
        for array in arrays(self.entries):
            answer = self.client.http.post(f"/api/knowledge-packs/{self.pack}/entries", json=array, timeout=300)
            created = Counter(item["status"] for item in answer.json()["results"])
            assert created == {"created": len(array)}, created
        self.posted_s = time.perf_counter() - started
        self.cpu_posting = cpu_seconds(up) - cpu
        self.ready_when_posted = self.counts()["ready"]
        while self.counts()["ready"] < len(self.entries):
            self._maybe_kill()
            assert not self.counts()["failed"], self.counts()
            time.sleep(POLL_S)
        self.ready_s = time.perf_counter() - started
        self.cpu = cpu_seconds(up) - cpu

    def counts(self) -> Counter[str]:
        rows = self.database.execute(
            "SELECT index_status, count(*) FROM knowledge_entry WHERE pack_id = %s GROUP BY 1", [self.pack]
        )
        return Counter(dict(rows.fetchall()))

    def _maybe_kill(self) -> None:
        if not self.kill_at or self.counts()["ready"] < self.kill_at[0]:
            return
        pid = json.loads((self.folder / "services.json").read_text())["pids"]["index"]
        if pid in self.killed:
            return  # not restarted yet
        os.kill(pid, signal.SIGKILL)
        self.killed.append(pid)
        self.kill_at.pop(0)
        print(f"killed the index worker ({pid}) at {dict(self.counts())}", flush=True)

    def report(self, before: Raw, after: Raw) -> str:
        passages, vectors, attempts = self.database.execute(
            "SELECT (SELECT passage_count FROM knowledge_knowledgepack WHERE id = %(pack)s),"
            " (SELECT count(*) FROM knowledge_passagevector WHERE pack_id = %(pack)s),"
            " (SELECT max(attempt) FROM knowledge_entry WHERE pack_id = %(pack)s)",
            {"pack": self.pack},
        ).fetchone() or (0, 0, 0)
        assert vectors == passages, (vectors, passages)
        per_entry = passages / len(self.entries)
        rate, cpu = statistics.mean([before.rate, after.rate]), statistics.mean([before.cpu, after.cpu]) * passages
        whole = passages / self.ready_s
        tail = per_entry * (len(self.entries) - self.ready_when_posted) / (self.ready_s - self.posted_s)
        tail_cpu = cpu * (len(self.entries) - self.ready_when_posted) / len(self.entries)
        rows = [
            ["the model alone, before and after", f"{before.rate:.1f} and {after.rate:.1f}", "", ""],
            ["all, posting included", f"{whole:.1f}", f"{whole / rate:.1%}", self._share(cpu, self.cpu)],
            ["what was left when all was posted", f"{tail:.1f}", f"{tail / rate:.1%}",
             self._share(tail_cpu, self.cpu - self.cpu_posting)],
        ]  # fmt: skip
        return (
            f"{len(self.entries)} entries, {passages} passages: all ready, none failed, {len(self.killed)} kills, "
            f"at most {attempts} attempts; posted in {self.posted_s:.1f} s ({self.ready_when_posted} ready by then), "
            f"ready after {self.ready_s:.1f} s.\n\n"
            + table(["what", "passages/s", "of the model alone", "the same by CPU of all processes"], rows)
        )

    def _share(self, of_model: float, of_all: float) -> str:
        """Unknown after a kill: what the dead had spent goes with them."""
        return "unknown" if self.killed else f"{of_model / of_all:.1%}"


def arrays(entries: Sequence[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    for first in range(0, len(entries), ARRAY):
        yield list(entries[first : first + ARRAY])


if __name__ == "__main__":
    main()
