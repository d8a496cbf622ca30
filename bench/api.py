"""The main routes read by many clients at once, with the cache of bodies and without it.

    python -m bench.api [--requests 1000] [--clients 32] [--write]

Two whole stacks as `make run` starts them, one without any cache of bodies and search results, take turns at each route, so that a
noisy minute is both's. The clients (threads with one HTTP client) share the machine's cores with what they measure. Statements are
the server's own count, from its access log: the first request's, which finds nothing kept, and the last one's.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx2

from bench.report import publish, table
from bench.stack import quorum_in_folder
from config.terminal import Client

ROWS = 30  # packs, councils
ENTRIES = 100
HEAD = ["route", "cache", "statements, first and then", "p50 ms", "p95 ms", "requests/s", "answer, kB"]


def main() -> None:
    parser = argparse.ArgumentParser(description="the main routes, with the cache of bodies and without")
    parser.add_argument("--requests", type=int, default=1000, help="of each route, in each way")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with (
        quorum_in_folder(OBJECT_CACHE="false", SEARCH_CACHE_S="0") as (plain, plain_data),
        quorum_in_folder(OBJECT_CACHE="true") as (caching, caching_data),
    ):
        sites = {"off": Site(plain, plain_data), "on": Site(caching, caching_data)}
        paths = {way: site.furnish() for way, site in sites.items()}
        rows = [
            sites[way].row(name, way, paths[way][name], options.requests, options.clients)
            for name in paths["off"]
            for way in ("off", "on")
        ]
    sentence = (
        f"{options.clients} clients, {options.requests} requests of each; {ROWS} packs and councils, {ENTRIES} entries."
    )
    publish("api", f"{sentence}\n\n{table(HEAD, rows)}", write=options.write)


@dataclass
class Site:
    client: Client
    data: Path

    def furnish(self) -> Mapping[str, str]:
        """What the routes read, and their addresses by name."""
        call = self.client.call
        packs = [call("POST", "/api/knowledge-packs", {"name": f"Pack {n}"})["id"] for n in range(ROWS)]
        pack = f"/api/knowledge-packs/{packs[0]}"
        for n in range(ENTRIES):
            body = {"title": f"Entry {n}", "content": f"Tabs and spaces, argument {n}. " * 40}
            entry = call("POST", f"{pack}/entries", body)["id"]
        while call("GET", f"{pack}/entries?status=pending&limit=1")["results"]:
            time.sleep(0.5)
        council = f"/api/council-sessions/{self._councils(packs[0])}"
        self._sign_in()
        return {
            "a council": council,
            "its page": council.replace("/api/council-sessions", "/councils"),
            "list of councils": "/api/council-sessions",
            "a pack": pack,
            "list of packs": "/api/knowledge-packs",
            "list of entries": f"{pack}/entries",
            "an entry": f"{pack}/entries/{entry}",
            "a search": f"{pack}/entries/search?q=argument+7",
            "who am I": "/api/me",
        }

    def _councils(self, pack: str) -> str:
        """One of them concluded, on the pack."""
        agents: list[dict[str, Any]] = [{"name": f"Seat {n}", "model": f"fake-option-{n % 3 + 1}"} for n in range(5)]
        body = {"question": "Tabs or spaces?", "options": ["Tabs", "Spaces"], "agents": agents, "packs": [pack]}
        drafts = [str(self.client.call("POST", "/api/council-sessions", body)["id"]) for _ in range(ROWS)]
        self.client.call("POST", f"/api/council-sessions/{drafts[0]}/start")
        for _ in self.client.watch(drafts[0], timeout=60):
            pass
        return drafts[0]

    def _sign_in(self) -> None:
        """For the page; the API goes by the key, as before."""
        known, http = json.loads((self.data / "credentials.json").read_text()), self.client.http
        http.get("/accounts/login", headers={"Authorization": ""})
        token = next(value for name, value in http.cookies.items() if name.endswith("csrf"))
        form = {"username": known["admin_email"], "password": known["admin_password"], "csrfmiddlewaretoken": token}
        answer = http.post("/accounts/login", data=form, headers={"Authorization": "", "Referer": self.client.url})
        assert answer.status_code == 302, answer.text[:500]

    def row(self, name: str, way: str, path: str, requests: int, clients: int) -> list[str]:
        http, times = self.client.http, list[float]()
        size = len(_read(http, path))
        first = self._statements()

        def one(_: int) -> float:
            began = time.perf_counter()
            _read(http, path)
            return time.perf_counter() - began

        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(one, range(2 * clients)))  # connections of every thread
            began = time.perf_counter()
            times = list(threads.map(one, range(requests)))
            rate = requests / (time.perf_counter() - began)
        cuts = quantiles(times, n=100, method="inclusive")
        figures = [f"{1000 * cuts[49]:.1f}", f"{1000 * cuts[94]:.1f}", f"{rate:.0f}", f"{size / 1024:.1f}"]
        row = [name, way, f"{first} {self._statements()}", *figures]
        print(*row, flush=True)
        return row

    def _statements(self) -> int:
        """Of the last request that the log has."""
        time.sleep(0.2)  # the line comes after the answer
        log = next(self.data.glob("**/web*.log"))
        return int(re.findall(rb"\bqueries=(\d+)", log.read_bytes()[-20_000:])[-1])


def _read(http: httpx2.Client, path: str) -> bytes:
    answer = http.get(path)
    assert answer.status_code == 200, (path, answer.status_code, answer.text[:300])
    return answer.content


if __name__ == "__main__":
    main()
