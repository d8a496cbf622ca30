"""The protocol over a WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from .backoff import Backoff
from .news import FINAL, Close, Json, News, OutOfOrder, Place, Refused

SILENCE_S = 45.0  # two heartbeats and a little: the connection is dead although nobody closed it
LOST = (ConnectionClosed, InvalidHandshake, OSError, EOFError, TimeoutError, OutOfOrder)

Ticket = str | Callable[[], Awaitable[str]]


class LiveStream:
    """One stream of a server. ``follow`` is all that most programs need; the rest is for those that mind each frame.

    ``url`` begins with http or ws. ``key`` is an API key; ``ticket`` a ticket or a coroutine function that gets one, for each is good
    once. ``last_seq``: the last event that is known from an earlier time; with None the server begins with a snapshot, with 0 it sends
    the log from its first event where that is short. Further options are those of ``websockets.connect``.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ticket: Ticket | None = None,
        last_seq: int | None = None,
        backoff: Backoff | None = None,
        **options: Any,
    ) -> None:
        self.url = url.replace("http", "ws", 1) if url.startswith("http") else url
        self.ticket = ticket
        self.place = Place(last_seq)
        self.backoff = backoff or Backoff()
        self.connections = 0
        self.socket: ClientConnection | None = None
        self._headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
        self._options = options

    @property
    def last_seq(self) -> int | None:
        return self.place.last_seq

    @last_seq.setter
    def last_seq(self, seq: int | None) -> None:
        self.place.last_seq = seq

    # --- All at once ----------------------------------------------------------------------------------------------------

    async def follow(self) -> AsyncGenerator[News, None]:
        """What the stream tells, for ever: a lost connection is made again and goes on after the last event. Raises ``Refused``."""
        while True:
            try:
                async for news in self._connection():
                    yield news
            except LOST as error:
                await asyncio.sleep(self._pause(error))
            finally:
                self.cut()

    async def _connection(self) -> AsyncIterator[News]:
        """Ends by an error alone."""
        async with asyncio.timeout(SILENCE_S):
            await self.open()
            await self.say_hello()
        while True:
            async with asyncio.timeout(SILENCE_S):
                frame = await self.receive()
            if frame["t"] == "welcome":
                self.backoff.succeeded()
            news = self.place.take(frame)
            if news is not None:
                yield news

    def _pause(self, error: BaseException) -> float:
        code = error.rcvd.code if isinstance(error, ConnectionClosed) and error.rcvd else None
        if code in FINAL:
            raise Refused(Close(code), Close(code).name.lower()) from error
        return self.backoff.longest if code == Close.TOO_MANY else self.backoff.pause()

    # --- Step by step -----------------------------------------------------------------------------------------------------

    async def open(self) -> ClientConnection:
        """Connect without saying hello."""
        self.connections += 1
        # Frames are bounded by the server; snapshots of large packs are not small.
        options: dict[str, Any] = {"max_size": None, "compression": None, "proxy": None, "close_timeout": 1}
        options |= {"additional_headers": self._headers, **self._options}
        self.socket = await connect(self.url, **options)
        return self.socket

    async def say_hello(self) -> None:
        hello: Json = {"t": "hello", "v": 1, "last_seq": self.last_seq}
        if self.ticket is not None:
            hello["ticket"] = self.ticket if isinstance(self.ticket, str) else await self.ticket()
        await self.send(hello)

    async def send(self, frame: Json | str | bytes) -> None:
        await self._open_socket().send(json.dumps(frame) if isinstance(frame, dict) else frame)

    async def receive(self) -> Json:
        """The next frame as it came. Raises ``ConnectionClosed``."""
        frame: Json = json.loads(await self._open_socket().recv())
        return frame

    def cut(self) -> None:
        """Lose the connection as a network does: no close frame, what is under way is gone."""
        if self.socket is not None:
            self.socket.transport.abort()

    async def gone(self) -> None:
        """Wait until our side has let go of the connection too."""
        if self.socket is not None:
            await self.socket.wait_closed()

    async def close(self) -> None:
        if self.socket is not None:
            await self.socket.close()

    def _open_socket(self) -> ClientConnection:
        if self.socket is None:
            raise RuntimeError("connect first")
        return self.socket

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
