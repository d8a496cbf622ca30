"""Database work on behalf of the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from django.db import DatabaseError, InterfaceError, connections

P = ParamSpec("P")
T = TypeVar("T")

# One would let a slow snapshot delay every stream. Four is enough to overlap and leaves most of the connection pool to the views.
THREADS: Final = 4


class _Asked(NamedTuple):
    work: Callable[[], Any]
    answer: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Workers:
    """Threads that do what event loops ask for, in order. One goes on with its connection while there is more to do: when a thousand
    sockets come back at once, taking and giving back a connection for each query costs more than the queries."""

    def __init__(self, threads: int) -> None:
        self._asked: SimpleQueue[_Asked] = SimpleQueue()
        self._missing = threads
        self._lock = threading.Lock()

    async def do(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._asked.put(_Asked(work, answer, loop))
        if self._missing:
            self._start()
        return await answer

    def _start(self) -> None:
        """One more thread for each of the first questions; none before, for a process with threads must not be forked."""
        with self._lock:
            if self._missing:
                self._missing -= 1
                threading.Thread(target=self._work, name="realtime-db", daemon=True).start()

    def _work(self) -> None:
        while True:
            asked: _Asked | None = self._asked.get()
            while asked is not None:
                self._answer(asked)
                asked = None
                with suppress(Empty):
                    asked = self._asked.get_nowait()
            connections.close_all()  # back to the pool

    def _answer(self, asked: _Asked) -> None:
        if asked.answer.cancelled():
            return
        try:
            done: Callable[[], object] = partial(_succeed, asked.answer, asked.work())
        except BaseException as error:  # noqa: BLE001  # raised where it was asked for
            if isinstance(error, DatabaseError | InterfaceError):
                connections.close_all()  # it may be dead; the next one is asked first whether it lives
            done = partial(_fail, asked.answer, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            asked.loop.call_soon_threadsafe(done)


def _succeed(answer: asyncio.Future[T], result: T) -> None:
    if not answer.cancelled():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.cancelled():
        answer.set_exception(error)


_workers = Workers(THREADS)


async def query(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` on a thread of ours, in the caller's context; its connection is back in the pool soon after."""
    return await _workers.do(partial(copy_context().run, function, *args, **kwargs))


class ConnectionsGivenBack(ThreadPoolExecutor):
    """For an event loop's own threads. Django renders pages of errors there, apart from the thread whose connection it closes when
    the request is over: a page that asks who is signed in would keep one of the pool's for ever."""

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        def run() -> T:
            try:
                return function(*args, **kwargs)
            finally:
                connections.close_all()

        return super().submit(run)
