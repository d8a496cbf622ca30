"""The list and a session, read by many clients at once over HTTP.

A pool of threads with an HTTP client: what Locust would add (a user's course, a web page of its own) this has no use for.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

from bench.load.target import ENDS, SHARES, report, shares, target
from config.terminal import Client


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)


def run(options: argparse.Namespace) -> list[str]:
    with target() as stack:
        council = stack.draft("latency-100")
        stack.start(council)
        for frame in stack.client.watch(council, timeout=60):
            if frame["t"] == "event" and frame["type"] in ENDS:
                break
        began = time.perf_counter()
        times = _read(stack.client, council, options.requests, options.clients)
        rate = options.requests / (time.perf_counter() - began)
    sentence = f"`python -m bench.load api`: {options.clients} clients, {rate:.0f} requests a second."
    report(
        "api", sentence, ["what", *SHARES], [["GET session and list, by turns", *shares(times)]], write=options.write
    )
    return []


def _read(client: Client, council: str, requests: int, clients: int) -> list[float]:
    paths = [f"/api/council-sessions/{council}", "/api/council-sessions"]

    def one(number: int) -> float:
        began = time.perf_counter()
        client.call("GET", paths[number % 2])
        return time.perf_counter() - began

    with ThreadPoolExecutor(clients) as threads:
        return list(threads.map(one, range(requests)))
