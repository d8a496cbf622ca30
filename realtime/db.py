"""Database work on behalf of the event loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar, cast

from channels.db import database_sync_to_async

P = ParamSpec("P")
T = TypeVar("T")

# Channels would run all of a process's database calls on one thread, so that one slow snapshot delayed every stream. Four is
# enough to overlap and leaves most of the connection pool to the views.
_THREADS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="realtime-db")


async def query(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` on a thread of ours; its connection is back in the pool when this returns."""
    return cast("T", await database_sync_to_async(function, thread_sensitive=False, executor=_THREADS)(*args, **kwargs))
