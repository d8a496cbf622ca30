"""Clients that follow councils through every fault, lose their connections on top of it, and must miss nothing."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Collection

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.support.ws_client import LiveClient, OutOfOrder

ENDS = {"session.completed", "session.failed", "session.stopped"}
SILENCE_S = 45.0  # more than two heartbeats
CUT_S = (2.0, 12.0)
GONE = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError, EOFError)


class Watchers:
    """``seen``: the number of the last event of each council that was followed to its end."""

    def __init__(self, url: str, key: str, count: int, choose_from: Callable[[], Collection[str]], seed: int) -> None:
        self._url, self._key, self._choose_from = url, key, choose_from
        self._ending = threading.Event()
        self.seen: dict[str, int] = {}
        self.failures: list[str] = []
        self.connections = 0
        self._threads = [
            threading.Thread(target=self._live, args=(random.Random(seed + number),), daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """They finish the councils that they are watching."""
        self._ending.set()
        for thread in self._threads:
            thread.join(timeout=2 * SILENCE_S)
            if thread.is_alive():
                self.failures.append("a watcher never saw the end of its council")

    def _live(self, dice: random.Random) -> None:
        asyncio.run(self._watch_one_after_another(dice))

    async def _watch_one_after_another(self, dice: random.Random) -> None:
        while not self._ending.is_set():
            running = sorted(set(self._choose_from()) - self.seen.keys())
            if not running:
                await asyncio.sleep(0.2)
                continue
            await self._follow(dice.choice(running), dice)

    async def _follow(self, session: str, dice: random.Random) -> None:
        client = LiveClient(f"{self._url}/ws/council-sessions/{session}", key=self._key, last_seq=0)
        ended = False
        while not ended:
            try:
                ended = await self._until_cut(client, dice.uniform(*CUT_S))
            except GONE:
                await asyncio.sleep(0.2)
            except OutOfOrder as error:
                self.failures.append(f"watching {session}: {error}")
                return
        await client.close()
        self.seen[session] = client.last_seq or 0

    async def _until_cut(self, client: LiveClient, seconds: float) -> bool:
        """One connection; True when the council has ended."""
        self.connections += 1
        await client.connect()
        now = asyncio.get_running_loop().time
        until = now() + seconds
        while now() < until:
            frame = await client.receive(SILENCE_S)
            if frame["t"] == "event" and frame["type"] in ENDS:
                return True
        client.cut()
        return False
