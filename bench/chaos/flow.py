"""Councils that keep coming while things break: made and started over HTTP as a careful program would, with Idempotency-Key and retries."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx2
import psycopg

from config.terminal import Client

SEATS = 4
STARTERS = 4
PATIENCE_S = 180.0  # of one request, retries and all: the claim of a killed request goes stale after 60 s
AGAIN = {"idempotency_key_in_use"}
ENDED = "SELECT id::text FROM council_councilsession WHERE status IN ('completed', 'failed', 'stopped', 'archived')"


class Refused(Exception):
    """A request that no repetition made good."""


class Database:
    """Reads through restarts of the server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: psycopg.Connection | None = None

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Raises ``psycopg.OperationalError`` when the server stays away for ``PATIENCE_S``."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=2)
                return self._connection.execute(query.encode(), values or None).fetchall()
            except psycopg.OperationalError:
                if self._connection is not None:
                    self._connection.close()
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)


class Flow:
    """Keeps ``concurrent`` councils running until ``enough(started)`` says so. ``step`` now and then; ``failures`` must stay empty."""

    def __init__(
        self, client: Client, database: Database, concurrent: int, latency: int, enough: Callable[[int], bool]
    ) -> None:
        self._client, self._database = client, database
        self._concurrent, self._latency, self._enough = concurrent, latency, enough
        self._starters = ThreadPoolExecutor(STARTERS)
        self._starting: set[Future[str]] = set()
        self._lock = threading.Lock()
        self._asked = 0
        self.sessions: list[str] = []
        self.running: set[str] = set()
        self.failures: list[str] = []
        self.repeated: Counter[str] = Counter()  # why requests were sent again

    def step(self) -> bool:
        """Start what there is room for; True when all that were wanted have ended."""
        self._collect()
        self.running -= {row[0] for row in self._database.rows(ENDED)}
        while len(self.running) + len(self._starting) < self._concurrent and not self._enough(self._asked):
            self._asked += 1
            self._starting.add(self._starters.submit(self._start, self._asked))
        return self._enough(self._asked) and not self._starting and not self.running

    def close(self) -> None:
        self._starters.shutdown(cancel_futures=True)

    def _collect(self) -> None:
        for done in [one for one in self._starting if one.done()]:
            self._starting.remove(done)
            try:
                session = done.result()
            except Refused as refused:
                self.failures.append(f"a request failed for good: {refused}")
            else:
                self.sessions.append(session)
                self.running.add(session)

    def _start(self, number: int) -> str:
        made = self._post("/api/council-sessions", plan(number, self._latency))
        self._post(f"/api/council-sessions/{made['id']}/start", {})
        return str(made["id"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers, until = {"Idempotency-Key": str(uuid4())}, time.monotonic() + PATIENCE_S
        while True:
            try:
                response = self._client.http.post(path, json=body, headers=headers)
            except httpx2.TransportError as error:
                why = type(error).__name__
            else:
                if response.status_code < 400:
                    answer: dict[str, Any] = response.json()
                    return answer
                why = f"{response.status_code} {response.json().get('code')}"
                if response.status_code < 500 and response.json().get("code") not in AGAIN:
                    raise Refused(f"{path}: {why}: {response.json().get('detail')}")
            if time.monotonic() > until:
                raise Refused(f"{path}: {why}")
            with self._lock:
                self.repeated[why] += 1
            time.sleep(0.5)


def plan(number: int, latency: int) -> dict[str, Any]:
    """Four seats that disagree and a chair: opening, ballot, synthesis."""
    agents: list[dict[str, object]] = [
        {"name": f"Seat {n + 1}", "model": f"fake-option-{n % 3 + 1}-latency-{latency}"} for n in range(SEATS)
    ]
    agents.append({"name": "Chair", "model": f"fake-latency-{latency}", "chair": True})
    return {
        "question": f"Tabs or spaces, for file {number}?",
        "options": ["Tabs", "Spaces", "Both"],
        "agents": agents,
        # Longer than any pile of faults, so that whatever ends late is seen to end, and a lost turn is not hidden by a time-out.
        "protocol": {"turn_deadline_s": 1200, "run_deadline_s": 3600},
    }
