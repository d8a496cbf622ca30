"""Programs that hold councils over HTTP and watch them over sockets and event streams while servers come and go.

They are as careful as a program should be: a POST carries an ``Idempotency-Key`` and is sent again when its answer did not come, a
GET is sent again, a stream goes on behind the last event. Whatever else goes wrong is a fault.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx2
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.support.ws_client import LiveClient, OutOfOrder

ENDS = {"session.completed", "session.failed", "session.stopped"}
PATIENCE_S = 120.0
AGAIN_S = 0.1
RETRIED = {502, 503}
PLAN: dict[str, Any] = {
    "question": "Tabs or spaces?",
    "options": ["Tabs", "Spaces", "Both"],
    "agents": [{"name": f"Seat {n}", "model": f"fake-option-{n}-latency-300"} for n in (1, 2, 3)]
    + [{"name": "Chair", "model": "fake-latency-300", "chair": True}],
    "protocol": {"turn_deadline_s": 600, "run_deadline_s": 1200},
}


class Client(threading.Thread):
    """Holds one council after another, reading it all the while, until it is told to finish the one it is at."""

    def __init__(self, url: str, key: str, ending: threading.Event) -> None:
        super().__init__(daemon=True)
        self._url, self._key, self._ending = url, key, ending
        self._http = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        self.sessions: list[str] = []
        self.answered = 0
        self.repeated: Counter[str] = Counter()  # why requests were sent again
        self.closes: Counter[int] = Counter()  # how sockets and event streams (as "close" messages) were ended
        self.resumed = 0
        self.faults: list[str] = []

    def run(self) -> None:
        try:
            while not self._ending.is_set():
                self._hold_a_council()
        except Exception as error:  # noqa: BLE001  # shown by the test
            self.faults.append(repr(error))
        finally:
            self._http.close()

    def _hold_a_council(self) -> None:
        made = self._request("POST", "/api/council-sessions", PLAN)
        base = f"/api/council-sessions/{made['id']}"
        self.sessions.append(made["id"])
        streams = [threading.Thread(target=follow, args=[made["id"]]) for follow in (self._socket, self._events)]
        for stream in streams:
            stream.start()
        self._request("POST", f"{base}/start", {})
        self._request("POST", f"{base}/message", {"content": "Think of the diffs."})
        until = time.monotonic() + PATIENCE_S
        while (status := self._request("GET", base)["status"]) == "running" and time.monotonic() < until:
            time.sleep(AGAIN_S)
        if status != "completed":
            self.faults.append(f"the council {made['id']} is {status}")
        for stream in streams:
            stream.join(PATIENCE_S)

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": str(uuid4())} if method == "POST" else {}
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                response = self._http.request(method, path, json=body, headers=headers)
            except httpx2.TransportError as error:
                self.repeated[type(error).__name__] += 1
            else:
                if response.status_code not in RETRIED:
                    self.answered += 1
                    response.raise_for_status()
                    answer: dict[str, Any] = response.json()
                    return answer
                self.repeated[str(response.status_code)] += 1
            time.sleep(AGAIN_S)
        raise AssertionError(f"{method} {path} was not answered within {PATIENCE_S} s")

    # --- A socket ---

    def _socket(self, session: str) -> None:
        try:
            asyncio.run(asyncio.wait_for(self._follow(session), PATIENCE_S))
        except (OutOfOrder, TimeoutError) as error:
            self.faults.append(f"socket of {session}: {error!r}")

    async def _follow(self, session: str) -> None:
        client = LiveClient(f"{self._url}/ws/council-sessions/{session}", key=self._key, last_seq=0)
        ended = False
        while not ended:
            try:
                await client.connect()
                self.resumed += bool(client.last_seq)
                while not ended:
                    frame = await client.receive(PATIENCE_S)
                    ended = frame["t"] == "event" and frame["type"] in ENDS
            except ConnectionClosed as closed:
                self.closes[closed.rcvd.code if closed.rcvd else 1006] += 1
                await asyncio.sleep(AGAIN_S)
            except (InvalidHandshake, OSError, EOFError) as error:
                self.repeated[type(error).__name__] += 1
                await asyncio.sleep(AGAIN_S)
        await client.close()

    # --- Server-Sent Events ---

    def _events(self, session: str) -> None:
        last, until = 0, time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                for frame in self._stream(session, last):
                    if frame["t"] == "close":
                        self.closes[frame["code"]] += 1
                    if frame["t"] != "event":
                        continue
                    if frame["seq"] != last + 1:
                        self.faults.append(f"event stream of {session}: {frame['seq']} came after {last}")
                    last = frame["seq"]
                    if frame["type"] in ENDS:
                        return
            except httpx2.TransportError as error:
                self.repeated[f"stream: {type(error).__name__}"] += 1
            time.sleep(AGAIN_S)
        self.faults.append(f"event stream of {session}: no end within {PATIENCE_S} s")

    def _stream(self, session: str, last: int) -> Any:
        headers = {"Last-Event-ID": str(last)}
        with self._http.stream("GET", f"/api/council-sessions/{session}/stream", headers=headers) as response:
            if response.status_code in RETRIED:
                self.repeated[str(response.status_code)] += 1
                return
            response.raise_for_status()
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))
