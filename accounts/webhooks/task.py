"""The work of the task: fan out, then send with a few threads until nothing is due.

One at a time in each process, for it waits for others' servers: a second one returns at once, and what it came for is found by the first.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from django.db import connection

from accounts.webhooks import fanning, sending
from realtime import stopping

THREADS: Final = 8
SLICE_S: Final = 20.0
_one = threading.Lock()


def run() -> None:
    if not _one.acquire(blocking=False):
        return
    try:
        until = time.monotonic() + SLICE_S
        fanning.fan_out(until)
        if sending.any_due():
            _send(until)
    finally:
        _one.release()


def _send(until: float) -> None:
    with ThreadPoolExecutor(THREADS, thread_name_prefix="webhooks") as pool:
        for done in [pool.submit(_sender, until) for _ in range(THREADS)]:
            done.result()


def _sender(until: float) -> None:
    try:
        while not stopping.over(until) and sending.send_one(_post):
            pass
    finally:
        connection.close()


def _post(url: str, body: bytes, headers: dict[str, str]) -> sending.Outcome:
    """No connection is kept while a receiver is waited for."""
    connection.close()
    return sending.post(url, body, headers)
