"""Live text: what models are writing, on its way to watchers. Nothing here is kept; the committed turn is the record."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import UUID

from realtime import nudge

COALESCE_S = 0.1


class LiveTurn:
    """The growing text of one attempt. ``write`` is called on the model loop's thread, so it only appends."""

    def __init__(self, group: str, turn: UUID, attempt: int) -> None:
        self._group, self._turn, self._attempt = group, str(turn), attempt
        self._text = ""
        self._sent = 0
        self._kept = False  # whether a text of it may lie with the broker
        self._closed = False
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        if text and not self._closed:
            self._text += text
            publisher.mark(self)

    def restart(self) -> None:
        """Another model begins the turn anew: what watchers have seen is replaced from its first character on."""
        with self._lock:
            self._text, self._sent = "", 0

    def close(self) -> None:
        """Nothing is sent after this returns. The caller has committed the turn, or lost it."""
        with self._lock:
            self._closed = True
            if self._kept:
                nudge.forget_partial(self._turn)

    def flush(self) -> None:
        with self._lock:
            text, start = self._text, self._sent
            if self._closed or len(text) == start:
                return
            self._kept = True
            nudge.publish_delta(
                self._group, turn=self._turn, attempt=self._attempt, start=start, text=text[start:], partial=text
            )
            self._sent = len(text)


class Publisher:
    """One thread per process that flushes every turn with new text each ``COALESCE_S``, off the model loop's thread."""

    def __init__(self) -> None:
        self._dirty: set[LiveTurn] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def mark(self, live: LiveTurn) -> None:
        with self._lock:
            self._dirty.add(live)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="delta-publisher", daemon=True)
                self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        pause: Callable[[float], object] = threading.Event().wait
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                dirty, self._dirty = self._dirty, set()
            for live in dirty:
                live.flush()
            pause(COALESCE_S)


publisher = Publisher()
