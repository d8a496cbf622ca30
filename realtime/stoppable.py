"""Tasks of workers that may be told to stop (``realtime.stopping``)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import ParamSpec

from celery import current_task

from realtime import nudge, stopping

P = ParamSpec("P")


def stoppable(work: Callable[P, None]) -> Callable[P, None]:
    """A worker that is to stop sends the task on instead of beginning it; one that stops in the middle of it has given back what it
    held, and that is no failure. Stands below ``shared_task``."""

    @wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        if stopping.requested():
            delivered = current_task.request.delivery_info or {}
            nudge.send_task(current_task.name, args, str(delivered["routing_key"]))  # the queue that it came from
            return
        with suppress(stopping.Stopping):
            work(*args, **kwargs)

    return run
