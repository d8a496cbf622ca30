"""The stack under load, as seen from beside it: its web process, its councils, its database and its model server."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx2
import psycopg

from bench.report import publish, table
from bench.stack import quorum_in_folder
from config.terminal import Client

ENDS = frozenset({"session.completed", "session.failed", "session.stopped"})
MIB = 1024 * 1024


@dataclass(frozen=True)
class Address:
    """What a client needs to know; travels to the process in which clients run."""

    url: str
    key: str
    redis_url: str

    def socket(self, session: str) -> str:
        return f"{self.url}/ws/council-sessions/{session}"


@dataclass
class Target:
    client: Client
    data: Path
    known: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.known = json.loads((self.data / "services.json").read_text())

    @property
    def address(self) -> Address:
        return Address(self.client.url, self.client.key, self.known["redis_url"])

    def draft(self, model: str, seats: int = 3) -> str:
        """``model``: a word of the fake server's for every seat (``tests/support/fake_rules.py``)."""
        agents: list[dict[str, object]] = [
            {"name": f"Seat {n}", "model": f"fake-option-{(n - 1) % 3 + 1}-{model}"} for n in range(1, seats + 1)
        ]
        agents.append({"name": "Chair", "model": f"fake-{model}", "chair": True})
        body = {"question": "Tabs or spaces?", "options": ["Tabs", "Spaces", "Both"], "agents": agents}
        return str(self.client.call("POST", "/api/council-sessions", body)["id"])

    def start(self, session: str) -> None:
        self.client.call("POST", f"/api/council-sessions/{session}/start")

    def heads(self) -> dict[str, int]:
        """The number of the last event of every session."""
        with self.database() as connection:
            return dict(connection.execute("SELECT id::text, last_seq FROM council_councilsession").fetchall())

    def database(self) -> psycopg.Connection:
        return psycopg.connect(self.known["database_url"], autocommit=True)

    def model_requests(self) -> list[dict[str, Any]]:
        """What the fake model server remembers (4,096 requests): model, times, when the caller hung up."""
        control = self.known["llm_base_url"].removesuffix("/v1") + "/control/requests"
        found: list[dict[str, Any]] = httpx2.get(control, timeout=60).json()["requests"]
        return found

    def web_pids(self) -> list[int]:
        pids: dict[str, int] = json.loads((self.data / "services.json").read_text())["pids"]
        return [pid for name, pid in pids.items() if name.partition("-")[0] == "web"]

    def web_memory(self) -> int:
        """Resident bytes of the web processes."""
        found = [line for pid in self.web_pids() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) * 1024 for line in found if line.startswith("VmRSS:"))

    def connected_ports(self) -> set[int]:
        """Ports of the peers that the web server holds established connections with."""
        port = int(self.client.url.rpartition(":")[2])
        rows = [line.split() for line in Path(f"/proc/{self.web_pids()[0]}/net/tcp").read_text().splitlines()[1:]]
        established = [row for row in rows if row[3] == "01" and int(row[1].partition(":")[2], 16) == port]
        return {int(row[2].partition(":")[2], 16) for row in established}


@contextmanager
def target(web: int = 1, **env: str) -> Iterator[Target]:
    """With so many web processes. Councils are their owner's alone, so thousands who watch one are one user: the limit of sockets a
    user is set out of the way."""
    with quorum_in_folder("--web-processes", str(web), SOCKETS_PER_USER="1000000", **env) as (client, data):
        yield Target(client, data)


def web_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--web", type=int, default=1, help="web processes on the one port")


def processes(count: int) -> str:
    return "one web process" if count == 1 else f"{count} web processes"


def shares(times: list[float]) -> list[str]:
    """n, p50, p95, p99 and maximum, in milliseconds, of seconds."""
    if len(times) < 2:
        return [str(len(times)), "-", "-", "-", "-"]
    cuts = quantiles(times, n=100, method="inclusive")
    return [str(len(times)), *(f"{1000 * value:.1f}" for value in (cuts[49], cuts[94], cuts[98], max(times)))]


SHARES = ["n", "p50 ms", "p95 ms", "p99 ms", "longest ms"]


def report(name: str, sentence: str, head: list[str], rows: list[list[str]], *, write: bool) -> None:
    publish(f"load-{name}", f"{sentence}\n\n{table(head, rows)}", write=write, page=DOCS_PAGE)


DOCS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
