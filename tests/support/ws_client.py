"""The published WebSocket client, step by step: records every frame, waits for what a test names, and loses connections at will.

It checks the promise of the protocol as it goes: each event follows the one before it, whatever was cut in between.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from websockets.exceptions import ConnectionClosed

from clients.quorum_live import LiveStream, OutOfOrder

__all__ = ["LiveClient", "OutOfOrder"]

Frame = dict[str, Any]
PATIENCE_S = 15.0


class LiveClient(LiveStream):
    """``frames`` is everything received over all connections; ``rows`` the events by number; ``last_seq`` where it stands."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.frames: list[Frame] = []
        self.rows: dict[int, Frame] = {}
        self.snapshot: Frame | None = None

    async def connect(self) -> Frame:
        """Connect, say hello and return the welcome."""
        await self.open()
        await self.say_hello()
        welcome = await self.receive()
        assert welcome["t"] == "welcome", welcome
        return welcome

    async def refusal(self) -> int:
        """Connect, say hello, and return the code that the server closes with, which may be before it heard the hello."""
        await self.open()
        with contextlib.suppress(ConnectionClosed):
            await self.say_hello()
        return await self.closed()

    async def receive(self, patience: float = PATIENCE_S) -> Frame:
        """The next frame, recorded. Raises ``ConnectionClosed``."""
        async with asyncio.timeout(patience):
            frame = await super().receive()
        self._record(frame)
        return frame

    async def next(self, kind: str, patience: float = PATIENCE_S) -> Frame:
        """The next frame of a kind; those before it are recorded only."""
        async with asyncio.timeout(patience):
            while True:
                if (frame := await self.receive(patience))["t"] == kind:
                    return frame

    async def reach(self, seq: int, patience: float = PATIENCE_S) -> None:
        """Receive until event ``seq`` is known."""
        async with asyncio.timeout(patience):
            while (self.last_seq or 0) < seq:
                await self.receive(patience)

    async def closed(self, patience: float = PATIENCE_S) -> int:
        """Receive until the server closes, and return its code."""
        assert self.socket is not None
        try:
            async with asyncio.timeout(patience):
                while True:
                    await self.receive(patience)
        except ConnectionClosed:
            await self.socket.wait_closed()
        return self.socket.close_code or 1006

    def _record(self, frame: Frame) -> None:
        """The place would pass over an event that comes twice; here it is a fault."""
        self.frames.append(frame)
        if frame["t"] == "event":
            if self.last_seq is not None and frame["seq"] != self.last_seq + 1:
                raise OutOfOrder(f"event {frame['seq']} came after {self.last_seq}")
            self.rows[frame["seq"]] = frame
        if frame["t"] in {"event", "welcome"}:  # a heartbeat may come while what it tells of is under way
            self.place.take(frame)
        if frame["t"] == "welcome" and frame["mode"] == "snapshot":
            self.snapshot = frame["snapshot"]
