"""One stream as seen by one process: reads each row of its log once and hands the encoded frame to every watcher here.

Order of things, on which exactness rests: the group is joined, then the head is read, and only then does anybody join. A hint
(or a head check) makes ``_catch_up`` read what is new. A newcomer gets its welcome and its place in the fan-out in one step of
the event loop, with nothing awaited in between, from the ring of recent frames: so it misses nothing and gets nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

import redis
from django.db import InterfaceError, OperationalError

from realtime import aio, frames, limits
from realtime.db import query
from realtime.frames import Close, Frame
from realtime.live_turns import Fit, LiveTurns, stored_text
from realtime.outbox import Outbox
from realtime.sources import LoggedEvent, StreamSource, read_events, read_heads, read_snapshot
from realtime.subscription import Message, Subscription

log = logging.getLogger(__name__)

DATABASE_DOWN = (OperationalError, InterfaceError)


class StreamReader:
    """``holders`` counts watchers and those who are about to join; the feed ends a reader that nobody holds."""

    def __init__(self, source: StreamSource, stream_id: UUID, on_end: Callable[[StreamReader], None]) -> None:
        self.source, self.stream_id = source, stream_id
        self.holders = 0
        self.known = 0  # the last event that was fanned out
        self.presence: Frame | None = None
        self.subscription = Subscription(source.group(stream_id), self._on_message)
        self._watchers: set[Outbox] = set()
        self._ring: deque[Frame] = deque()  # recent events up to ``known``, without a gap
        self._live = LiveTurns()
        self._hinted = False
        self._deltas: deque[Message] = deque(maxlen=limits.DELTAS_WAITING)
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()
        self._reading = asyncio.Lock()
        self._snapshotting = asyncio.Lock()
        self._snapshot: tuple[float, Frame] | None = None
        self._forgot = 0  # the last event at which the source forgot something
        self._on_end = on_end
        self._task = asyncio.create_task(self._run(), name=f"read {self.subscription.group}")
        self._task.add_done_callback(self._ended)

    # --- Watchers -------------------------------------------------------------------------------------------------

    async def join(self, outbox: Outbox, last_seq: int | None) -> None:
        """Owe ``outbox`` a welcome and every event from there on, each exactly once.

        ``last_seq`` is the last event that the watcher has, ``None`` for none: up to 300 behind it is replayed what it missed,
        otherwise (also when it claims more than there is) it gets a snapshot. Raises ``NotFound`` when the stream is gone.
        """
        await self._ready.wait()
        if self._task.done():
            outbox.close(Close.RESTART)
            return
        if last_seq is not None and last_seq > self.known:
            await self._catch_up()  # it may have read it through another process, whose hint reached us late
        if last_seq is not None and 0 <= self.known - last_seq <= limits.REPLAY_EVENTS:
            await self._cover(last_seq)
            self._attach(outbox, frames.replay(self.known), last_seq)
            return
        welcome = await self._welcome()
        await self._cover(welcome.seq or 0)
        self._attach(outbox, welcome, welcome.seq or 0)

    def leave(self, outbox: Outbox) -> None:
        self._watchers.discard(outbox)

    def send(self, frame: Frame) -> None:
        for outbox in tuple(self._watchers):
            outbox.put(frame)
            if outbox.code is not None:
                self._watchers.discard(outbox)

    def show_presence(self, watching: int) -> None:
        frame = frames.presence(watching)
        if frame != self.presence:
            self.presence = frame
            self.send(frame)

    def close(self, code: int) -> None:
        for outbox in tuple(self._watchers):
            outbox.close(code)
        self._watchers.clear()

    async def stop(self) -> None:
        self.close(Close.RESTART)
        await aio.end(self._task)
        await self.subscription.stop()

    def _attach(self, outbox: Outbox, welcome: Frame, seq: int) -> None:
        missed = [frame for frame in self._ring if frame.seq is not None and frame.seq > seq]
        extra = [] if self.presence is None else [self.presence]
        outbox.preload([welcome, *missed, *self._live.catch_up(), *extra], max(seq, self.known))
        self._watchers.add(outbox)

    # --- Reading --------------------------------------------------------------------------------------------------

    def hint(self) -> None:
        """The log may have grown. Any number of hints during a read cause one more."""
        self._hinted = True
        self._wake.set()

    def saw_head(self, head: int | None) -> None:
        """What a head check found; ``None``: the stream's row is gone."""
        if head is None:
            self.close(Close.UNKNOWN)
        elif head > self.known:
            self.hint()

    def _on_message(self, message: Message) -> None:
        match message["type"]:
            case "stream.hint":
                self.hint()
            case "stream.delta":
                self._deltas.append(message)
                self._wake.set()
            case "stream.recheck":
                for outbox in tuple(self._watchers):
                    outbox.attention.set()
            case "stream.presence":
                self.show_presence(int(message["watching"]))
            case unknown:
                log.warning("unknown message %r on %s", unknown, self.subscription.group)

    async def _run(self) -> None:
        await (
            self.subscription.probe()
        )  # unconfirmed is no reason to wait longer: the feed's pulse reads heads meanwhile
        await self._patiently(self._start)
        self._ready.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            # Deltas first: one that waits for its turn's start reads the log itself, so the hint costs no second read.
            while self._deltas:
                await self._patiently(partial(self._pass_on_delta, self._deltas.popleft()))
            if self._hinted:
                await self._patiently(self._catch_up)

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        """Try for ever while the database is away: watchers keep their sockets and lose nothing."""
        pause, longest = limits.RETRY_S
        while True:
            try:
                await step()
            except DATABASE_DOWN as error:
                log.warning("cannot read %s, will try again: %s", self.subscription.group, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
            else:
                return

    async def _start(self) -> None:
        """The place to read on from, and which turns are running there."""
        heads = await query(read_heads, self.source.model, [self.stream_id])
        head = heads.get(self.stream_id, 0)
        after = max(0, head - limits.LIVE_TURNS_EVENTS) if self.source.shows_work else head
        for event in await query(self._read, after, head):
            self._live.see(event)
        self.known = head
        for turn in self._live.running():
            await self._restore(turn)

    async def _catch_up(self) -> None:
        """Read what is new, in one query unless it is a great deal, and fan it out."""
        async with self._reading:
            self._hinted = False
            full = True
            while full:
                try:
                    events = await query(read_events, self.source.model, self.stream_id, self.known, limits.READ_ROWS)
                except BaseException:
                    self.hint()  # whoever asked may give up; the reader itself must not
                    raise
                full = len(events) == limits.READ_ROWS
                for event in events:
                    self._fan_out(event)

    def _fan_out(self, event: LoggedEvent) -> None:
        frame = frames.event(event)
        self._live.see(event)
        if self.source.forgets(event):
            self._ring.clear()
            self._forgot = event.seq
        self._ring.append(frame)
        while len(self._ring) > limits.REPLAY_EVENTS:
            self._ring.popleft()
        self.known = event.seq
        self.send(frame)

    async def _cover(self, seq: int) -> None:
        """Make the ring hold every event in ``(seq, known]``. On return nothing has been awaited since that was true."""
        while (first := self._first_kept()) > seq + 1:
            older = [frames.event(event) for event in await query(self._read, seq, first - 1)]
            if self._first_kept() == first:
                self._ring.extendleft(reversed(older))
                return  # rows that are missing here are missing in the log

    def _first_kept(self) -> int:
        return (self._ring[0].seq or 0) if self._ring else self.known + 1

    def _read(self, after: int, until: int) -> list[LoggedEvent]:
        if until <= after:
            return []
        rows = read_events(self.source.model, self.stream_id, after, until - after)
        return [row for row in rows if row.seq <= until]

    async def _welcome(self) -> Frame:
        """A snapshot, shared by all who come within ``SNAPSHOT_S``: a thousand reconnecting sockets cost a few reads."""
        now = asyncio.get_running_loop().time
        async with self._snapshotting:
            if self._snapshot is not None and now() - self._snapshot[0] < limits.SNAPSHOT_S:
                taken = self._snapshot[1]
                if (taken.seq or 0) >= self._forgot:
                    return taken
            while True:
                state, seq = await query(read_snapshot, self.source, self.stream_id)
                self._snapshot = (now(), frames.snapshot(seq, state))
                if seq >= self._forgot:  # else something was forgotten while it was read
                    return self._snapshot[1]

    # --- Live text ------------------------------------------------------------------------------------------------

    async def _pass_on_delta(self, message: Message) -> None:
        fit = self._live.accept(message)
        if fit is Fit.UNKNOWN:
            await self._catch_up()  # it overtook the hint of its own start, or that hint was lost
            fit = self._live.accept(message)
        if fit is Fit.NEXT:
            self.send(frames.delta(message["turn"], message["attempt"], message["from"], message["text"]))
        elif fit is Fit.HOLE:
            await self._restore(message["turn"])

    async def _restore(self, turn: str) -> None:
        try:
            stored = await asyncio.to_thread(stored_text, turn)
        except redis.RedisError as error:
            log.debug("live text of turn %s cannot be had: %s", turn, error)
            return
        if stored is not None and (frame := self._live.restore(turn, *stored)) is not None:
            self.send(frame)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A reader that fails must not leave its watchers hanging on a dead stream: they come back and get a new one."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("reader of %s failed", self.subscription.group, exc_info=error)
            self._ready.set()
            self.close(Close.RESTART)
            self._on_end(self)
