"""Socket clients, many in one process of their own, so that what they cost is not mistaken for the server's.

``in_process_of_their_own(work, …)`` runs a module's coroutine function there and hands back its result.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import get_context
from typing import Any, TypeVar

import msgpack
import redis
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from bench.load.target import ENDS, Address
from tests.support.ws_client import LiveClient, OutOfOrder

R = TypeVar("R")
GONE = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError, EOFError)
AT_ONCE = 50  # handshakes under way when a crowd comes; what a reconnecting client meets beyond it is its own queue
Work = Callable[..., Coroutine[Any, Any, R]]


def in_process_of_their_own(work: Work[R], *values: object) -> Future[R]:
    """A future; the process ends with the work."""
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    future = pool.submit(_run, work, *values)
    pool.shutdown(wait=False)
    return future


def _run(work: Work[R], *values: object) -> R:
    return asyncio.run(work(*values))


@dataclass
class Seen:
    """Times in seconds."""

    events: list[float] = field(default_factory=list)  # from an event's own time to its arrival
    deltas: list[float] = field(default_factory=list)  # from its publication, as another subscriber hears it
    resumes: list[float] = field(default_factory=list)  # from the first try to connect to having the head
    faults: list[str] = field(default_factory=list)
    connections: int = 0
    frames: int = 0
    ended: int = 0  # sockets that saw the end of their council

    def add(self, other: Seen) -> None:
        self.events += other.events
        self.deltas += other.deltas
        self.resumes += other.resumes
        self.faults += other.faults
        self.connections += other.connections
        self.frames += other.frames
        self.ended += other.ended


class Published:
    """When each piece of live text was published: a subscriber of its own at the broker, on a thread."""

    def __init__(self, redis_url: str) -> None:
        self.at: dict[tuple[str, int, int, int], float] = {}
        self._subscriber = redis.Redis.from_url(redis_url).pubsub()  # type: ignore[no-untyped-call]  # theirs
        self._subscriber.psubscribe("*")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self._subscriber.close()

    def _listen(self) -> None:
        while not self._ending.is_set():
            heard = self._subscriber.get_message(timeout=0.2)
            if heard is None or heard["type"] != "pmessage" or b"stream.delta" not in heard["data"]:
                continue
            message = msgpack.unpackb(heard["data"])
            self.at.setdefault(_key(message), time.time())


def _key(delta: dict[str, Any]) -> tuple[str, int, int, int]:
    """Text that is given again to a late joiner has another length, and is not mistaken for the piece that was published."""
    return str(delta["turn"]), delta["attempt"], delta["from"], len(delta["text"])


class Watching:
    """One socket on one council: follows it to its end, through any number of ``cut``."""

    def __init__(self, address: Address, session: str, published: Published | None, gate: asyncio.Semaphore) -> None:
        self.live = LiveClient(address.socket(session), key=address.key, last_seq=0)
        self.seen = Seen()
        self.ready = asyncio.Event()
        self._session, self._published, self._gate = session, published, gate
        self._ended = False

    def cut(self) -> None:
        """Only a connection that stands; one that is just being made goes on."""
        if self.ready.is_set():
            self.live.cut()

    async def follow(self, *, to_the_end: bool = True) -> None:
        try:
            while not (self._ended and to_the_end):
                with suppress(*GONE):
                    await self._connection(to_the_end)
                self.ready.clear()
        except OutOfOrder as error:
            self.seen.faults.append(f"{self._session}: {error}")

    async def _connection(self, to_the_end: bool) -> None:
        wanted = time.time()
        self.seen.connections += 1
        async with self._gate:
            welcome = await self.live.connect()
            await self.live.reach(welcome["head_seq"])
        if self.seen.connections > 1:
            self.seen.resumes.append(time.time() - wanted)
        self._forget(count=True)
        self.ready.set()
        while not (self._ended and to_the_end):
            self._note(await self.live.receive(60), time.time())

    def _note(self, frame: dict[str, Any], now: float) -> None:
        if frame["t"] == "event":
            self.seen.events.append(now - datetime.fromisoformat(frame["at"]).timestamp())
        elif frame["t"] == "delta" and self._published is not None:
            published = self._published.at.get(_key(frame))
            if published is not None:
                self.seen.deltas.append(now - published)
        self._forget(count=True)

    def _forget(self, *, count: bool) -> None:
        """What was received is not kept: thousands of sockets would be a measurement of our own memory."""
        self.seen.frames += len(self.live.frames) * count
        ended = any(one["t"] == "event" and one["type"] in ENDS for one in self.live.frames)
        if ended and not self._ended:
            self._ended, self.seen.ended = True, 1
        self.live.frames.clear()
        self.live.rows.clear()


async def ready(crowd: Iterable[Watching]) -> None:
    await asyncio.gather(*(one.ready.wait() for one in crowd))


def total(crowd: Iterable[Watching]) -> Seen:
    found = Seen()
    for one in crowd:
        found.add(one.seen)
    return found
