"""The WebSocket protocol of ``docs/events.md``: accept, hear a hello, authorise, join, forward.

Sockets are accepted before they are refused: a browser cannot read the status of a refused handshake, but it can read a close code.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn
from uuid import UUID

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from realtime import aio, auth, feed, frames, limits
from realtime.auth import Identity, Keys, Refused
from realtime.db import query
from realtime.errors import Unavailable
from realtime.frames import Close
from realtime.reader import DATABASE_DOWN
from realtime.sources import StreamSource
from realtime.watch import Watch

log = logging.getLogger(__name__)

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
VERSION = 1
# ASGI says OSError; uvicorn says RuntimeError to a frame that crosses the close of its own keep-alive.
PEER_LEFT = (OSError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Hello:
    last_seq: int | None
    ticket: str | None


class StreamConsumer(AsyncWebsocketConsumer):
    """One socket. Subclasses set ``source`` and nothing else; ``keys`` is handed in, for this app stands below accounts."""

    source: ClassVar[StreamSource]
    # The process's feed listens for all of its sockets; a channel for each would be a subscription for each.
    channel_layer_alias = ""

    def __init__(self, *, keys: Keys) -> None:
        super().__init__()
        self._keys = keys
        self._feed = feed.current()
        self._watch: Watch | None = None
        self._identity: Identity | None = None
        self._guest = False
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._dropped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._allowance = _Allowance(limits.FRAMES_PER_S)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Whatever ends a socket, its place in the feed is given up here."""

        async def receive_or_drop() -> Message:
            return await self._receive_or_drop(receive)

        try:
            await super().__call__(scope, receive_or_drop, send)
        finally:
            self._enter()
            if self._watch is not None:
                self._watch.close()
            await aio.end(*self._tasks)

    async def dispatch(self, message: Message) -> None:
        """Without Channels' visit to a thread for database connections: this one never holds any."""
        await getattr(self, message["type"].replace(".", "_"))(message)

    async def websocket_disconnect(self, message: Message) -> NoReturn:
        """Without that visit, too."""
        raise StopConsumer

    async def connect(self) -> None:
        await self.accept()
        if self._feed.guests >= limits.GUESTS:
            await self._finish(Close.TOO_MANY)
            return
        self._guest = True
        self._feed.guests += 1
        self._start(self._expect_hello())
        try:
            headers = _headers(self.scope)
            self._identity = await query(
                auth.from_headers, headers, self._keys, origin_required=True, address=_address(self.scope)
            )
        except Refused as refused:
            await self._finish(refused.code)
        except DATABASE_DOWN:
            await self._finish(Close.RESTART)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._closed:
            return
        if not self._allowance.take():
            await self._finish(Close.TOO_MANY)
            return
        try:
            await self._handle(parse(text_data))
        except Refused as refused:
            await self._finish(refused.code)

    async def _handle(self, message: Message) -> None:
        if message.get("t") == "ping":
            await self._pong()
        elif message.get("t") == "hello" and self._watch is None:
            await self._hello(parse_hello(message))
        else:
            raise Refused(Close.BAD_FRAME)

    async def _pong(self) -> None:
        if self._watch is None:
            await self._send(frames.PONG.text)
        else:
            self._watch.outbox.put(frames.PONG)  # in its turn, and bounded like everything else

    async def _hello(self, hello: Hello) -> None:
        self._enter()
        identity = self._identity
        if hello.ticket is not None:
            identity = await _redeem(hello.ticket, self._keys)
        if identity is None:
            raise Refused(Close.SIGNED_OUT)
        # A path that names no stream is the user's own.
        stream_id: UUID = self.scope["url_route"]["kwargs"].get("stream_id", identity.user_id)
        self._watch = Watch(self._feed, self.source, stream_id, identity)
        await self._watch.open(hello.last_seq)
        self._start(self._forward(self._watch))
        self._start(self._guard(self._watch))

    async def _forward(self, watch: Watch) -> None:
        while True:
            frame = await watch.outbox.get()
            await self._send(frame.text)

    async def _guard(self, watch: Watch) -> None:
        await self._finish(await watch.guard())

    async def _expect_hello(self) -> None:
        await asyncio.sleep(limits.HELLO_S)
        if self._guest:
            await self._finish(Close.NO_HELLO)

    def _enter(self) -> None:
        """No guest any more."""
        if self._guest:
            self._guest = False
            self._feed.guests -= 1

    async def _send(self, text: str) -> None:
        try:
            await self.send(text_data=text)
        except PEER_LEFT:
            self._drop()

    async def _finish(self, code: int) -> None:
        """Close with ``code``. A reader that stopped reading may never see it: it is dropped after ``CLOSE_S`` all the same."""
        if self._closed:
            return
        self._closed = True
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        try:
            async with asyncio.timeout(limits.CLOSE_S):
                await self.close(code)
        except PEER_LEFT:  # or, as a TimeoutError, it does not read
            self._drop()

    async def _receive_or_drop(self, receive: Receive) -> Message:
        """The next message, or the end: a socket whose peer does not read would otherwise wait for it for ever."""
        incoming = asyncio.ensure_future(receive())
        ends: list[asyncio.Future[Any]] = [incoming, self._dropped]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if incoming.done():
                return incoming.result()
            return {"type": "websocket.disconnect", "code": 1006}
        finally:
            incoming.cancel()

    def _drop(self) -> None:
        if not self._dropped.done():
            self._dropped.set_result(None)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a socket's task failed", exc_info=error)
            self._drop()


class Unknown(StreamConsumer):
    """A path that is nobody's: closed as unknown, not failed."""

    async def connect(self) -> None:
        await self.accept()
        await self._finish(Close.UNKNOWN)


class _Allowance:
    """A token bucket: ``per_second`` on average, as many at once."""

    def __init__(self, per_second: float) -> None:
        self._rate = self._left = per_second
        self._now = asyncio.get_running_loop().time
        self._at = self._now()

    def take(self) -> bool:
        now = self._now()
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def parse(text: str | None) -> Message:
    """A frame is one JSON object in text, at most 4 KB. Raises ``Refused``."""
    if text is None or len(text.encode()) > limits.FRAME_BYTES:
        raise Refused(Close.BAD_FRAME)
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(Close.BAD_FRAME) from error
    if not isinstance(message, dict):
        raise Refused(Close.BAD_FRAME)
    return message


def parse_hello(message: Message) -> Hello:
    """Raises ``Refused`` for another version or for values of the wrong kind."""
    last_seq, ticket = message.get("last_seq"), message.get("ticket")
    counted = last_seq is None or (type(last_seq) is int and 0 <= last_seq < 2**63)
    if type(message.get("v")) is not int or message["v"] != VERSION or not counted:
        raise Refused(Close.BAD_FRAME)
    if not (ticket is None or (isinstance(ticket, str) and ticket.isascii())):  # JSON may hold half a surrogate pair
        raise Refused(Close.BAD_FRAME)
    return Hello(last_seq, ticket)


async def _redeem(ticket: str, keys: Keys) -> Identity:
    try:
        return await query(auth.from_ticket, ticket, keys)
    except (Unavailable, *DATABASE_DOWN) as error:
        raise Refused(Close.RESTART) from error


def _headers(scope: Message) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _address(scope: Message) -> str | None:
    """The peer's IP address; a Unix socket has none."""
    client = scope.get("client")
    return auth.ip_address(client[0]) if client else None
