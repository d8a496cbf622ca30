"""A WebSocket client as a careful program would write it: remembers the last event, reconnects at will, records every frame.

It checks the promise of the protocol as it goes: each event follows the one before it, whatever was cut in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Frame = dict[str, Any]
PATIENCE_S = 15.0


class OutOfOrder(AssertionError):
    """An event was missed or came twice."""


class LiveClient:
    """``frames`` is everything received over all connections; ``rows`` the events by number; ``last_seq`` where it stands."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ticket: str | None = None,
        last_seq: int | None = None,
        **options: Any,
    ) -> None:
        self.url = url.replace("http", "ws", 1)
        self.ticket = ticket
        self.last_seq = last_seq
        self.frames: list[Frame] = []
        self.rows: dict[int, Frame] = {}
        self.snapshot: Frame | None = None
        self.connections = 0
        self.socket: ClientConnection | None = None
        self._headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
        self._options = options

    async def open(self) -> ClientConnection:
        """Connect without saying hello."""
        self.connections += 1
        options: dict[str, Any] = {"max_size": None, "compression": None, "proxy": None, "close_timeout": 1}
        options |= {"additional_headers": self._headers, **self._options}
        self.socket = await connect(self.url, **options)
        return self.socket

    async def connect(self) -> Frame:
        """Connect, say hello and return the welcome."""
        await self.open()
        await self.send(self.hello())
        welcome = await self.receive()
        assert welcome["t"] == "welcome", welcome
        return welcome

    async def refusal(self) -> int:
        """Connect, say hello, and return the code that the server closes with, which may be before it heard the hello."""
        await self.open()
        with contextlib.suppress(ConnectionClosed):
            await self.send(self.hello())
        return await self.closed()

    def hello(self) -> Frame:
        hello: Frame = {"t": "hello", "v": 1, "last_seq": self.last_seq}
        return hello if self.ticket is None else {**hello, "ticket": self.ticket}

    async def send(self, frame: Frame | str | bytes) -> None:
        assert self.socket is not None
        await self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def receive(self, patience: float = PATIENCE_S) -> Frame:
        """The next frame, recorded. Raises ``ConnectionClosed``."""
        assert self.socket is not None
        async with asyncio.timeout(patience):
            frame: Frame = json.loads(await self.socket.recv())
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

    def cut(self) -> None:
        """Lose the connection as a network does: no close frame, what is under way is gone."""
        assert self.socket is not None
        self.socket.transport.abort()

    async def gone(self) -> None:
        """Wait until our side has let go of the connection too."""
        if self.socket is not None:
            await self.socket.wait_closed()

    async def close(self) -> None:
        if self.socket is not None:
            await self.socket.close()

    def _record(self, frame: Frame) -> None:
        self.frames.append(frame)
        if frame["t"] == "event":
            if self.last_seq is not None and frame["seq"] != self.last_seq + 1:
                raise OutOfOrder(f"event {frame['seq']} came after {self.last_seq}")
            self.last_seq = frame["seq"]
            self.rows[frame["seq"]] = frame
        elif frame["t"] == "welcome" and frame["mode"] == "snapshot":
            self.snapshot = frame["snapshot"]
            self.last_seq = frame["head_seq"]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
