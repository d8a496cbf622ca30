"""The live feed of one process (precisely: of one event loop): its readers, its users' sockets, and its pulse.

The pulse is what makes losing the broker harmless. Once a second the feed sends a message to itself through the broker. While
that does not come back, it reads the heads of all watched streams (one query per kind of stream) at every beat; when it comes
back, once more; and otherwise every five seconds, for a publisher may have given up on a hint that nobody here could miss.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

import redis
from channels.layers import get_channel_layer

from realtime import aio, frames, limits
from realtime.db import query
from realtime.frames import Close
from realtime.groups import user_group
from realtime.models import Stream
from realtime.outbox import Outbox
from realtime.presence import Mark, Presence
from realtime.reader import DATABASE_DOWN, StreamReader
from realtime.sources import StreamSource, read_heads
from realtime.subscription import BROKER_ERRORS, Message, Subscription

log = logging.getLogger(__name__)

Key = tuple[type[Stream], UUID]


class UserSockets:
    """One user's watchers in this process."""

    def __init__(self, user_id: UUID) -> None:
        self.outboxes: set[Outbox] = set()
        self.subscription = Subscription(user_group(user_id), self._on_message)

    def recheck(self) -> None:
        for outbox in self.outboxes:
            outbox.attention.set()

    async def confirm(self) -> None:
        """A sign-out before the group was joined went unheard, so look once after it."""
        if await self.subscription.probe():
            self.recheck()

    def _on_message(self, message: Message) -> None:
        if message["type"] == "user.recheck":
            self.recheck()


class Feed:
    """Get it through ``current()``. Everything here runs on one event loop."""

    def __init__(self) -> None:
        self.hints_arrive = True
        self.closing = False
        self.guests = 0
        self._readers: dict[Key, StreamReader] = {}
        self._users: dict[UUID, UserSockets] = {}
        self._presence = Presence()
        self._own = Subscription(f"feed.{uuid4().hex}", lambda _: None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._pulse())
        self._spawn(self._show_presence())

    # --- Streams --------------------------------------------------------------------------------------------------

    def hold(self, source: StreamSource, stream_id: UUID) -> StreamReader:
        """The stream's reader, started if need be. Every ``hold`` needs its ``release``."""
        key = (source.model, stream_id)
        reader = self._readers.get(key)
        if reader is None:
            reader = self._readers[key] = StreamReader(source, stream_id, self._forget)
        reader.holders += 1
        return reader

    def release(self, reader: StreamReader) -> None:
        reader.holders -= 1
        if not reader.holders:
            asyncio.get_running_loop().call_later(limits.LINGER_S, self._end_unheld, reader)

    def enter(self, reader: StreamReader, user_id: UUID, credential: str) -> Mark:
        return self._presence.enter(reader.subscription.group, user_id, credential)

    def leave(self, user_id: UUID, mark: Mark) -> None:
        self._presence.leave(user_id, mark)

    def _end_unheld(self, reader: StreamReader) -> None:
        if not reader.holders and self._is_current(reader):
            self._forget(reader)
            self._spawn(reader.stop())

    def _forget(self, reader: StreamReader) -> None:
        """Whoever comes next gets a new reader."""
        if self._is_current(reader):
            del self._readers[reader.source.model, reader.stream_id]

    def _is_current(self, reader: StreamReader) -> bool:
        return self._readers.get((reader.source.model, reader.stream_id)) is reader

    # --- Users ----------------------------------------------------------------------------------------------------

    def admit(self, user_id: UUID, outbox: Outbox) -> bool:
        """Count a watcher against its user's limit; ``False`` when that is reached."""
        if self.is_full(user_id):
            return False
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = UserSockets(user_id)
            self._spawn(user.confirm())
        user.outboxes.add(outbox)
        return True

    def is_full(self, user_id: UUID) -> bool:
        user = self._users.get(user_id)
        return (len(user.outboxes) if user else 0) >= limits.SOCKETS_PER_USER

    def dismiss(self, user_id: UUID, outbox: Outbox) -> None:
        user = self._users.get(user_id)
        if user is None:
            return
        user.outboxes.discard(outbox)
        if not user.outboxes:
            del self._users[user_id]
            self._spawn(user.subscription.stop())

    # --- Pulse ----------------------------------------------------------------------------------------------------

    async def _pulse(self) -> None:
        now = asyncio.get_running_loop().time
        checked = beaten = now()
        while True:
            await asyncio.sleep(limits.PULSE_S)
            arrived, self.hints_arrive = self.hints_arrive, await self._own.probe()
            if not (arrived and self.hints_arrive) or now() - checked >= limits.HEAD_CHECK_S:
                checked = now()
                await self._check_heads()
            if now() - beaten >= limits.HEARTBEAT_S:
                beaten = now()
                self._heartbeat()
            if self.hints_arrive:
                await self._confirm_others()

    async def _check_heads(self) -> None:
        for model in {model for model, _ in self._readers}:
            readers = [reader for (kind, _), reader in self._readers.items() if kind is model]
            try:
                heads = await query(read_heads, model, [reader.stream_id for reader in readers])
            except DATABASE_DOWN as error:
                log.warning("cannot read the heads of %s streams: %s", model._meta.model_name, error)
                continue
            for reader in readers:
                reader.saw_head(heads.get(reader.stream_id))

    def _heartbeat(self) -> None:
        for reader in self._readers.values():
            reader.send(frames.heartbeat(reader.known))

    async def _confirm_others(self) -> None:
        """Subscriptions that could not be made while the broker was away."""
        readers = [reader for reader in self._readers.values() if not reader.subscription.confirmed]
        users = [user for user in self._users.values() if not user.subscription.confirmed]
        await asyncio.gather(*(user.confirm() for user in users), *(self._confirm(reader) for reader in readers))

    async def _confirm(self, reader: StreamReader) -> None:
        if await reader.subscription.probe():
            reader.hint()

    # --- Presence -------------------------------------------------------------------------------------------------

    async def _show_presence(self) -> None:
        now = asyncio.get_running_loop().time
        refreshed = now()
        while True:
            await asyncio.sleep(limits.PRESENCE_S)
            await self._write_presence(publish=True)
            if now() - refreshed >= limits.HEARTBEAT_S:
                refreshed = now()
                await self._write_presence(publish=False)

    async def _write_presence(self, *, publish: bool) -> None:
        changes = self._presence.changes() if publish else self._presence.everyone()
        if not any(changes):
            return
        try:
            counts = await asyncio.to_thread(self._presence.write, changes)
            for group, watching in counts.items() if publish else ():
                message = {"type": "stream.presence", "watching": watching}
                async with asyncio.timeout(limits.CONFIRM_S):
                    await get_channel_layer().group_send(group, message)
        except (redis.RedisError, *BROKER_ERRORS) as error:
            log.debug("presence is not up to date: %r", error)
            return
        for reader in self._readers.values():
            if reader.subscription.group in counts:
                reader.show_presence(counts[reader.subscription.group])

    # --- Life -----------------------------------------------------------------------------------------------------

    def end_watches(self) -> None:
        """The server is stopping: every watcher is told to come back later. Safe to call twice."""
        self.closing = True
        for user in self._users.values():
            for outbox in user.outboxes:
                outbox.close(Close.RESTART)

    async def close(self) -> None:
        """End all work of this feed and the connections of its channel layer."""
        self.end_watches()
        await aio.end(*self._tasks)
        await asyncio.gather(
            *(reader.stop() for reader in self._readers.values()),
            *(user.subscription.stop() for user in self._users.values()),
            self._own.stop(),
            return_exceptions=True,
        )
        self._readers.clear()
        self._users.clear()
        await get_channel_layer().flush()
        _feeds.pop(asyncio.get_running_loop(), None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("work of the live feed failed", exc_info=error)


_feeds: WeakKeyDictionary[asyncio.AbstractEventLoop, Feed] = WeakKeyDictionary()


def current() -> Feed:
    """The feed of the running event loop."""
    loop = asyncio.get_running_loop()
    feed = _feeds.get(loop)
    if feed is None:
        feed = _feeds[loop] = Feed()
    return feed
