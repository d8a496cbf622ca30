"""Councils per minute: many at once through the whole stack, four seats, opening → ballot → synthesis, 200 ms a call.

    python -m bench.throughput [--concurrent 64] [--councils 640] [--latency 200] [--write]

Drafts are made beforehand; each is then started over HTTP as soon as fewer than ``--concurrent`` run. The rate is taken between the
starts of the first and the last council, while all places are filled. Who has ended is read from the database, ten times a second:
sockets or polling the API would measure the watcher.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import median, quantiles

import psycopg

from bench.report import publish, table
from bench.stack import quorum_in_folder
from config.terminal import Client

STAGES, SEATS = 3, 4
STARTERS = 4
ENDED = "SELECT id::text, status FROM council_councilsession WHERE status IN ('completed', 'failed', 'stopped')"
TIMES = "SELECT extract(epoch FROM finished_at - started_at)::float8 FROM council_councilsession WHERE finished_at > %s"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--concurrent", type=int, default=64)
    parser.add_argument("--councils", type=int, default=640)
    parser.add_argument("--latency", type=int, default=200, help="milliseconds that each model call takes")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with quorum_in_folder() as (client, folder), psycopg.connect(_database(folder), autocommit=True) as database:
        drafts = [_draft(client, options.latency) for _ in range(options.councils)]
        print("running", file=sys.stderr, flush=True)
        body = _table(Flow(client, database, options.concurrent), drafts, options)
    publish("throughput", body, write=options.write)


def _database(folder: Path) -> str:
    return str(json.loads((folder / "services.json").read_text())["database_url"])


def _draft(client: Client, latency: int) -> str:
    models = [f"fake-option-{number % 3 + 1}-latency-{latency}" for number in range(SEATS)]
    agents: list[dict[str, object]] = [{"name": f"Seat {n}", "model": model} for n, model in enumerate(models, 1)]
    agents.append({"name": "Chair", "model": f"fake-latency-{latency}", "chair": True})
    body = {"question": "Tabs or spaces?", "options": ["Tabs", "Spaces", "Both"], "agents": agents}
    return str(client.call("POST", "/api/council-sessions", body)["id"])


class Flow:
    """Keeps so many councils running."""

    def __init__(self, client: Client, database: psycopg.Connection, concurrent: int) -> None:
        self._client, self._database, self.concurrent = client, database, concurrent

    def run(self, drafts: list[str]) -> float:
        """Run them all and return how many ended in a second, from the first place that came free to the last start."""
        left, running = iter(drafts), set[str]()
        full: tuple[float, int] | None = None
        with ThreadPoolExecutor(STARTERS) as starters:
            while True:
                ended = self._ended(drafts)
                running -= ended
                chosen = list(islice(left, self.concurrent - len(running)))
                now = time.perf_counter()
                if full is None and ended:
                    full = now, len(ended)
                if not chosen and full is not None and len(running) < self.concurrent:
                    return (len(ended) - full[1]) / (now - full[0])
                running.update(chosen)
                list(starters.map(self._start, chosen))
                time.sleep(0.1)

    def _start(self, session: str) -> None:
        self._client.call("POST", f"/api/council-sessions/{session}/start")

    def _ended(self, drafts: list[str]) -> set[str]:
        ended: dict[str, str] = dict(self._database.execute(ENDED).fetchall())
        assert Counter(ended.values()).keys() <= {"completed"}, Counter(ended.values())
        return ended.keys() & set(drafts)


def _table(flow: Flow, drafts: list[str], options: argparse.Namespace) -> str:
    rate = flow.run(drafts)
    times = [row[0] for row in flow._database.execute(TIMES, ["-infinity"]).fetchall()]
    rows = [
        ("councils at once", str(options.concurrent)),
        ("councils a minute", f"{rate * 60:.0f}"),
        ("seconds a council, median", f"{median(times):.2f}"),
        ("seconds a council, 95 %", f"{quantiles(times, n=20)[18]:.2f}"),
    ]
    return table(["what", f"{SEATS} seats, {STAGES} stages, {options.latency} ms a call"], rows)


if __name__ == "__main__":
    main()
