"""Ctrl-C: whoever is at work on a question ends it, and nothing of it is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """The trial is being stopped; the question under way is left unanswered."""


class Stop:
    """Set once, from any thread. What is ``watching`` then is called, each once."""

    def __init__(self) -> None:
        self._set, self._lock = threading.Event(), threading.Lock()
        self._ends: list[Callable[[], object]] = []

    def now(self) -> None:
        with self._lock:
            self._set.set()
            ends, self._ends = self._ends, []
        for end in ends:
            end()

    def check(self) -> None:
        if self._set.is_set():
            raise Interrupted

    def wait(self, seconds: float) -> None:
        """Raises ``Interrupted`` at once when it is set meanwhile."""
        self._set.wait(seconds)
        self.check()

    @contextmanager
    def watching(self, end: Callable[[], object]) -> Iterator[None]:
        with self._lock:
            self.check()
            self._ends.append(end)
        try:
            yield
        finally:
            with self._lock:
                if end in self._ends:
                    self._ends.remove(end)
