"""Sockets and API under load, against the whole stack as shipped.

    python -m bench.load [--sockets 48] [--councils 8] [--requests 1000] [--clients 16]

Every socket follows one of the councils to its end; latency is from an event's own time to its arrival here (one machine, one
clock). Then ``--clients`` threads read the list and a session, ``--requests`` times in all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from statistics import quantiles
from urllib.parse import urlsplit

from websockets.asyncio.client import connect

from bench.stack import quorum
from config.terminal import Client

ENDS = {"session.completed", "session.failed"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sockets", type=int, default=48, help="at most 50: the limit of one user to one process")
    parser.add_argument("--councils", type=int, default=8)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    with quorum() as client:
        sessions = [_draft(client) for _ in range(options.councils)]
        latencies, complete = asyncio.run(_watch_all(client, sessions, options.sockets))
        times = _read(client, sessions[0], options.requests, options.clients)
    print("| what | n | p50 ms | p95 ms | p99 ms |\n|---|---|---|---|---|")
    _row(f"event to socket ({options.sockets} sockets, {options.councils} councils)", latencies)
    _row(f"GET session and list ({options.clients} clients)", times)
    print(f"\n{complete} of {options.sockets} sockets received every event in order.")


def _draft(client: Client) -> str:
    agents = [{"name": f"Seat {n}", "model": f"fake-option-{n}-slow"} for n in range(1, 4)]
    body = {"question": "Tabs or spaces?", "options": ["Tabs", "Spaces", "Both"], "agents": agents}
    return str(client.call("POST", "/api/council-sessions", body)["id"])


async def _watch_all(client: Client, sessions: list[str], sockets: int) -> tuple[list[float], int]:
    latencies: list[float] = []
    watching = [asyncio.create_task(_watch(client, sessions[n % len(sessions)], latencies)) for n in range(sockets)]
    await asyncio.sleep(2)
    for session in sessions:
        await asyncio.to_thread(client.call, "POST", f"/api/council-sessions/{session}/start")
    return latencies, sum(await asyncio.gather(*watching))


async def _watch(client: Client, session: str, latencies: list[float]) -> bool:
    """Follow one council; True when no event was missed or came twice."""
    address = f"ws://{urlsplit(client.url).netloc}/ws/council-sessions/{session}"
    expected = 1
    async with connect(address, additional_headers={"Authorization": f"Bearer {client.key}"}) as socket:
        await socket.send(json.dumps({"t": "hello", "v": 1, "last_seq": 0}))
        async for text in socket:
            frame = json.loads(text)
            if frame["t"] != "event":
                continue
            if frame["seq"] != expected:
                return False
            expected += 1
            if frame["seq"] > 1:  # the first was written before anybody watched
                latencies.append((time.time() - datetime.fromisoformat(frame["at"]).timestamp()) * 1000)
            if frame["type"] in ENDS:
                return True
    return False


def _read(client: Client, session: str, requests: int, clients: int) -> list[float]:
    paths = [f"/api/council-sessions/{session}", "/api/council-sessions"]

    def one(number: int) -> float:
        began = time.perf_counter()
        client.call("GET", paths[number % 2])
        return (time.perf_counter() - began) * 1000

    with ThreadPoolExecutor(clients) as threads:
        return list(threads.map(one, range(requests)))


def _row(what: str, times: list[float]) -> None:
    cuts = quantiles(times, n=100)
    print(f"| {what} | {len(times)} | {cuts[49]:.1f} | {cuts[94]:.1f} | {cuts[98]:.1f} |")


if __name__ == "__main__":
    main()
