"""Celery tasks: fetch by id, call, return. Whatever a task leaves undone stands in a row, and the sweeper finds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from celery import shared_task
from django.db import connection

from council import runner, workers
from council.cleaning import LATE
from realtime import cleaning
from realtime.stoppable import stoppable


@shared_task(name="council.tasks.run_turns")
@stoppable
def run_turns(session_id: str, turn_ids: list[str]) -> None:
    """One attempt of each of these model turns, and for a while of what follows them (queue ``turns``)."""
    with _connection_given_back():
        runner.run_turns(UUID(session_id), [UUID(one) for one in turn_ids], workers.name(), runner.SLICE_S)


@shared_task(name="council.tasks.run_tally")
@stoppable
def run_tally(session_id: str, turn_id: str) -> None:
    """One consensus round (queue ``control``: never behind hung models)."""
    with _connection_given_back():
        runner.run_tally(UUID(session_id), UUID(turn_id), workers.name())


@shared_task(name="council.tasks.sweep")
def sweep() -> None:
    """Find what was lost and send it again (beat, every 5 s)."""
    cleaning.run("late", LATE)


@contextmanager
def _connection_given_back() -> Iterator[None]:
    """An idle worker thread holds no connection.

    An unexpected error is logged by Celery; the turns' leases run out and the sweeper gives them back until their deadline.
    """
    try:
        yield
    finally:
        connection.close()
