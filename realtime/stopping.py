"""A worker process that is told to stop gives back what it holds before it goes, so that another goes on at once.

``SIGTERM`` (or Celery's warm shutdown in any other way) comes to the worker's main process. A pipe, made before its pool is forked,
tells the children: the main process closes the only end that can be written to, and whoever reads sees the end of the file. It does
so too when the main process is killed.

    with held(give_back, cancel):     # a claim, a lease: something that others wait for
        …                             # ``cancel`` is called at once, from another thread, to end what the holder waits for
        check()                       # between two small batches: raises ``Stopping``, and ``give_back`` is called
    until = …
    over(until)                       # the slice of time is over, or there is none any more

Who has not come to a ``check`` within ``PATIENCE_S`` is not waited for: ``give_back`` is called for it from another thread, which
fences it off, and the process ends ``END_S`` after the signal at the latest. A second signal ends it at once; leases run out then.
Everything here is idle in processes that are no workers.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from django.db import connection

logger = logging.getLogger(__name__)

PATIENCE_S = 1.2  # for holders to come to a check; leases are to be back within 2 s
END_S = 3.0  # the supervisor of ``manage.py up`` kills after 4


class Stopping(Exception):
    """The process is to end. Not an error: what was held has been given back."""


class _Holding(NamedTuple):
    give_back: Callable[[], object]
    cancel: Callable[[], object] | None


class Stop:
    """The stop of one process. ``requested`` never becomes false again."""

    def __init__(self) -> None:
        self.requested = False
        self._pipe: tuple[int, int] | None = None  # to read from, to write to (-1: closed)
        self._held: dict[int, _Holding] = {}
        self._lock = threading.Lock()

    # --- For those who hold something ---

    @contextmanager
    def held(self, give_back: Callable[[], object], cancel: Callable[[], object] | None = None) -> Iterator[None]:
        """``give_back`` may be called twice, and after the holder has finished: it must be fenced like any other writer."""
        holding = _Holding(give_back, cancel)
        with self._lock:
            self._held[id(holding)] = holding
        try:
            yield
        except Stopping:
            give_back()
            raise
        finally:
            with self._lock:
                del self._held[id(holding)]

    def check(self) -> None:
        if self.requested:
            raise Stopping

    def over(self, until: float) -> bool:
        """Whether ``until`` (of the monotonic clock) has passed or the process is to end: time for the next worker."""
        return self.requested or time.monotonic() > until

    # --- For the process ---

    def prepare(self) -> None:
        """In the main process, before the pool is forked."""
        if self._pipe is None:
            self._pipe = os.pipe()
            atexit.register(self._leave)

    def request(self) -> None:
        """In the main process, also within a signal handler: no lock is taken. The second time ends the process."""
        if self.requested:
            os._exit(1)
        self.requested = True
        if self._pipe is not None:
            reading, writing = self._pipe
            self._pipe = (reading, -1)
            os.close(writing)

    def watch(self, *, child: bool) -> None:
        """Give back when the stop is requested. In the main process once its pool is there, in each child at its start."""
        if self._pipe is None:
            return
        reading, writing = self._pipe
        if child:
            # A signal to the whole group comes to the main process too, and the pipe tells; here it would end the process.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if writing != -1:
                os.close(writing)
                self._pipe = (reading, -1)
        threading.Thread(target=self._wait, args=[reading], name="stopping", daemon=True).start()

    def _leave(self) -> None:
        """When all is done and written: taking the interpreter apart took more than another second when measured, for nothing."""
        if self.requested:
            logging.shutdown()
            os._exit(0)

    def _wait(self, reading: int) -> None:
        os.read(reading, 1)
        self.requested = True
        told = time.monotonic()
        for holding in self._holdings():
            if holding.cancel is not None:
                _attempt(holding.cancel)
        time.sleep(PATIENCE_S)  # also when nothing is held yet: a lease may have been taken a moment ago
        for holding in self._holdings():
            _attempt(holding.give_back)
        time.sleep(max(told + END_S - time.monotonic(), 0))
        logger.warning("still at work %g s after being told to stop: ending now", END_S)
        os._exit(0)

    def _holdings(self) -> list[_Holding]:
        with self._lock:
            return list(self._held.values())


def _attempt(action: Callable[[], object]) -> None:
    """One holder's failure is not the others': its lease runs out."""
    try:
        action()
    except Exception:
        logger.exception("a lease could not be given back; it runs out")
    finally:
        connection.close()


process = Stop()
held, check, over = process.held, process.check, process.over


def requested() -> bool:
    return process.requested


def end_at_once_on_quit() -> None:
    """Celery's own answer to ``SIGQUIT`` waits for threads that it cannot end."""
    signal.signal(signal.SIGQUIT, lambda _number, _frame: os._exit(128 + signal.SIGQUIT))
