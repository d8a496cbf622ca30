"""Who is acting, for the event logs that say so.

The caller of a service is known where a request comes in and wanted where an event is written; a context variable spans the
layers between. It holds a function rather than a person, so that requests which write nothing look nobody up. Workers and the
console have no actor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypedDict


class Actor(TypedDict):
    id: str
    name: str | None


Who = Callable[[], Actor | None]
_who: ContextVar[Who | None] = ContextVar("actor", default=None)


@contextmanager
def acting(who: Who) -> Iterator[None]:
    """Events that are appended inside were brought about by whomever ``who`` names at that time."""
    token = _who.set(who)
    try:
        yield
    finally:
        _who.reset(token)


def current() -> Actor | None:
    who = _who.get()
    return who() if who else None
