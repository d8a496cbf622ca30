"""Membership of one channel-layer group, proved by echo and kept for ever.

The pub/sub layer reconnects by itself, but it neither waits for the server to confirm a subscription nor tells anybody that it
was away, and a message does not say which group it was sent to. So each subscription has a channel of its own (one per watched
stream and process, however many sockets), and ``probe`` proves the way through the broker by sending a message around it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from realtime import aio, limits

log = logging.getLogger(__name__)

Message = Mapping[str, Any]
BROKER_ERRORS = (RedisError, OSError, TimeoutError)
ECHO = "realtime.echo"


class Subscription:
    """Calls ``handle`` with every message sent to ``group``. ``confirmed`` says whether the last probe came back."""

    def __init__(self, group: str, handle: Callable[[Message], None]) -> None:
        self.group = group
        self.confirmed = False
        self._stopped = False
        self._handle = handle
        self._layer = get_channel_layer()
        self._channel = f"feed.{uuid4().hex}"
        self._echoes: dict[str, asyncio.Future[None]] = {}
        self._listener = asyncio.create_task(self._listen(), name=f"listen {group}")

    async def probe(self) -> bool:
        """Join if need be, and wait up to ``CONFIRM_S`` for a message of ours to come around. Never raises for the broker."""
        token, echo = uuid4().hex, asyncio.get_running_loop().create_future()
        self._echoes[token] = echo
        try:
            async with asyncio.timeout(limits.CONFIRM_S):
                await self._send_until(echo, {"type": ECHO, "token": token})
            self.confirmed = True
        except BROKER_ERRORS as error:
            log.debug("no way through the broker to %s: %r", self.group, error)
            self.confirmed = False
        finally:
            del self._echoes[token]
        return self.confirmed

    async def stop(self) -> None:
        self._stopped = True
        try:
            async with asyncio.timeout(limits.CONFIRM_S):
                await self._layer.group_discard(self.group, self._channel)
        except BROKER_ERRORS as error:
            log.debug("could not leave %s: %r", self.group, error)
        await aio.end(self._listener)

    async def _send_until(self, echo: asyncio.Future[None], message: Message) -> None:
        """Repeats: SUBSCRIBE and PUBLISH travel on different connections, so the first echo may overtake the subscription."""
        now = asyncio.get_running_loop().time
        pause, deadline = 0.02, now() + limits.CONFIRM_S
        # The listener's first step registers the channel, which group_add insists on.
        await asyncio.sleep(0)
        while not echo.done():
            if (
                self._stopped or now() > deadline
            ):  # redis-py swallows a cancellation, and so our timeout, that arrives while it connects
                raise TimeoutError
            await self._layer.group_add(self.group, self._channel)
            await self._layer.group_send(self.group, message)
            await asyncio.wait([echo], timeout=pause)
            pause *= 2

    async def _listen(self) -> None:
        """``receive`` on a name of our own rather than ``new_channel``: tried again after a failure, it leaves nothing behind."""
        while True:
            try:
                message = await self._layer.receive(self._channel)
            except BROKER_ERRORS as error:
                log.debug("cannot listen to %s: %r", self.group, error)
                await asyncio.sleep(limits.RETRY_S[0])
                continue
            self._receive(message)

    def _receive(self, message: Message) -> None:
        if message.get("type") != ECHO:
            self._handle(message)
            return
        # Every process that watches the group hears every echo; the others' tokens mean nothing here.
        echo = self._echoes.get(message["token"])
        if echo is not None and not echo.done():
            echo.set_result(None)
