"""What one watcher still has to be sent: bounded, so that a slow reader costs us a megabyte and not the process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from realtime import limits
from realtime.frames import Close, Frame


class Outbox:
    """Frames for one watcher, in order, each event once. Used from one event loop only, so it needs no lock.

    ``code`` is set when the watcher must go; frames still waiting then are dropped.
    """

    def __init__(self) -> None:
        self.seq = 0  # the last event that was put in
        self.code: int | None = None
        self.attention = asyncio.Event()  # the code was set, or somebody wants this watcher's access checked again
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._allowed_frames, self._allowed_bytes = limits.OUTBOX_FRAMES, limits.OUTBOX_BYTES
        self._filled = asyncio.Event()

    def preload(self, frames: Iterable[Frame], seq: int) -> None:
        """What a newcomer is owed. It does not count against the bounds: a long history is not the reader's slowness."""
        for frame in frames:
            self._push(frame)
        self.seq = seq
        self._allowed_frames += len(self._frames)
        self._allowed_bytes += self._bytes

    def put(self, frame: Frame) -> None:
        """Events that the watcher has already are left out; a watcher over its bounds is closed as too slow."""
        if self.code is not None or (frame.seq is not None and frame.seq <= self.seq):
            return
        if len(self._frames) >= self._allowed_frames or self._bytes + frame.size > self._allowed_bytes:
            self.close(Close.TOO_SLOW)
            return
        self.seq = frame.seq if frame.seq is not None else self.seq
        self._push(frame)

    async def get(self) -> Frame:
        """The next frame, waited for. After ``close`` there is none any more, so a closed outbox waits for ever."""
        while not self._frames:
            self._filled.clear()
            await self._filled.wait()
        frame = self._frames.popleft()
        self._bytes -= frame.size
        return frame

    def close(self, code: int) -> None:
        """The first reason wins."""
        if self.code is None:
            self.code = code
            self._frames.clear()
            self._bytes = 0
            self.attention.set()

    def _push(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._bytes += frame.size
        self._filled.set()
