"""Bodies that are read often and cost many statements, kept in Valkey under the version that they show.

The truth is in Postgres and is asked every time: ``version`` is one cheap statement that says which body is right now (and whether
the caller may see it at all), and the version is part of the key. So there is nothing to withdraw, no message that could be lost, and
no reader who gets what a commit outdated that they could know of. What makes that hold:

- A body that is kept was read in **one repeatable-read transaction with its version**, which is asked for again there. A write that
  commits meanwhile is in both or in neither. A version is never used twice for two bodies (callers' part, see ``council.versions``).
- Inside any other transaction nothing is looked up or kept: it may have written what is not committed, and may be rolled back.
- Values are JSON. What others put there can be wrong; it cannot be a program.

Readers who miss together read once: in this process they wait for the first of them, other processes for a twentieth of a second.
When Valkey does not answer that is a miss, and it is left alone for some seconds (``accounts.breaker``).
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.core.cache import caches
from django.db import connection
from prometheus_client import Counter
from redis.exceptions import RedisError

from accounts.breaker import Breaker
from realtime.sources import one_moment

log = logging.getLogger(__name__)

FORMAT: Final = 1  # of keys and values; count it up when either changes
LARGEST: Final = 2 * 1024 * 1024  # bytes; what is larger is read anew each time
SCANNED: Final = 1_000  # keys of Valkey that one step of ``drop`` looks at
WAIT_S, LOOK_EVERY_S = 0.05, 0.01  # for another process that reads the same body
FLIGHT_S: Final = 2.0  # for another thread that does
LOOKUPS = Counter("quorum_object_cache_total", "Looks into the cache of bodies", ["kind", "result"])
breaker = Breaker()
# Of the request under way: "kind:hit" and the like, for its line in the access log.
outcomes: ContextVar[list[str] | None] = ContextVar("looks into the cache of this request", default=None)


@dataclass(frozen=True, slots=True)
class Version:
    """``name`` says what is shown and in which state; ``seconds`` how long a body of it is worth keeping."""

    name: str
    seconds: int


def current(kind: str, version: Callable[[], Version], body: Callable[[], Any]) -> Any:
    """The JSON of ``body``, of now. Both functions raise ``NotFound`` for those who may not see it. ``body`` is called at one moment of
    the database, except inside a transaction of the caller's, whose own rules then hold."""
    if connection.in_atomic_block:
        return body()
    if not settings.OBJECT_CACHE:
        with one_moment():
            return body()
    name = _key(kind, version().name)
    found = _look(kind, name)
    return found.body if found else json.loads(_flights.share(name, partial(_fill, kind, name, version, body)))


def at_this_moment(kind: str, version: Callable[[], Version], body: Callable[[], Any]) -> Any:
    """As ``current``, inside a transaction of the caller's that is repeatable-read and read-only (``one_moment``)."""
    if not settings.OBJECT_CACHE:
        return body()
    now = version()
    name = _key(kind, now.name)
    if found := _look(kind, name):
        return found.body
    made = _encoded(body())
    _keep(kind, name, made, now.seconds)
    return json.loads(made)


def find(kind: str, name: str) -> Any | None:
    """For those who make keys of their own (``knowledge.results_cache``): the JSON that was kept, or None."""
    found = _look(kind, _key(kind, name))
    return found.body if found else None


def keep(kind: str, name: str, body: Any, seconds: int) -> None:
    _keep(kind, _key(kind, name), _encoded(body), seconds)


def drop(kind: str, pattern: str) -> int:
    """Delete what was kept under names that match (``*``, ``?``); how many. Looks at every key. Raises ``RedisError``."""
    cache: Any = caches["objects"]
    client = cache._cache.get_client(None, write=True)
    names = client.scan_iter(match=cache.make_key(_key(kind, pattern)), count=SCANNED)
    return sum(int(client.unlink(name)) for name in names)


# --- Reading what is not there ----------------------------------------------------------------------------------------


class _Flights:
    """One reading of each name at a time in this process; who comes meanwhile gets the same. What they get was begun after the version
    that they asked for was committed, so it is no older than that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[bytes]] = {}

    def share(self, name: str, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            first = name not in self._under_way
            flight = self._under_way.setdefault(name, Future())
        if first:
            return self._lead(name, flight, make)
        try:
            return flight.result(FLIGHT_S)
        except Exception:  # noqa: BLE001  # whatever became of the other one: read for oneself, and fail for oneself
            return make()

    def _lead(self, name: str, flight: Future[bytes], make: Callable[[], bytes]) -> bytes:
        try:
            made = make()
        except BaseException as error:
            flight.set_exception(error)
            raise
        else:
            flight.set_result(made)
            return made
        finally:
            with self._lock:
                del self._under_way[name]


_flights = _Flights()


def _fill(kind: str, name: str, version: Callable[[], Version], body: Callable[[], Any]) -> bytes:
    with _announced(name) as first:
        # Also the first looks again: another may have ended its reading since the miss.
        if found := _kept(name) if first else _awaited(name):
            return found.encoded
        with one_moment():
            now = version()
            made = _encoded(body())
        _keep(kind, _key(kind, now.name), made, now.seconds)
        return made


@contextmanager
def _announced(name: str) -> Iterator[bool]:
    """Whether no other process has said that it reads this body. Only a courtesy: nothing depends on it."""
    first = _ask("add", f"{name}:reading", b"1", 2) is not False
    try:
        yield first
    finally:
        if first:
            _ask("delete", f"{name}:reading")


def _awaited(name: str) -> _Kept | None:
    until = time.monotonic() + WAIT_S
    found = None
    while found is None and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
        found = _kept(name)
    return found


# --- Valkey -----------------------------------------------------------------------------------------------------------


def _key(kind: str, name: str) -> str:
    return f"{FORMAT}:{kind}:{name}"


def _encoded(body: Any) -> bytes:
    """Raises ``TypeError`` for what is not JSON: a reader must get the same types whether it was kept or not."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")


@dataclass(frozen=True, slots=True)
class _Kept:
    encoded: bytes
    body: Any


def _kept(name: str) -> _Kept | None:
    """None also for what is not ours."""
    found: bytes | None = _ask("get", name)
    try:
        return None if found is None else _Kept(found, json.loads(found))
    except ValueError:
        LOOKUPS.labels("", "error").inc()
        log.warning("the cache of bodies holds something else: %s", name)
        return None


def _look(kind: str, name: str) -> _Kept | None:
    found = _kept(name)
    _count(kind, "hit" if found else "miss")
    return found


def _keep(kind: str, name: str, made: bytes, seconds: int) -> None:
    if len(made) > LARGEST:
        _count(kind, "too_large")
    else:
        _ask("set", name, made, seconds)


def _count(kind: str, result: str) -> None:
    LOOKUPS.labels(kind, result).inc()
    if (seen := outcomes.get()) is not None:
        seen.append(f"{kind}:{result}")


def _ask(operation: str, *args: Any) -> Any:
    """What the cache answers; None when it does not."""
    if not breaker.is_open():
        return None
    try:
        return getattr(caches["objects"], operation)(*args)
    except (RedisError, OSError) as error:
        breaker.trip()
        LOOKUPS.labels("", "error").inc()
        log.warning("the cache of bodies does not answer: %s", type(error).__name__)
        return None
