"""Celery tasks: fetch by id, call, return. Whatever a task leaves undone stands in a row, and the sweeper finds it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from celery import shared_task
from django.db import connection

from council import runner, sweeper
from council.models import Turn

WORKER = f"{socket.gethostname()}:{os.getpid()}"


@shared_task(name="council.tasks.run_turn")
def run_turn(turn_id: str) -> None:
    """One attempt of one model turn (queue ``turns``)."""
    _run(runner.run_turn, turn_id)


@shared_task(name="council.tasks.run_tally")
def run_tally(turn_id: str) -> None:
    """One consensus round (queue ``control``: never behind hung models)."""
    _run(runner.run_tally, turn_id)


@shared_task(name="council.tasks.sweep")
def sweep() -> None:
    """Find what was lost and send it again (beat, every 5 s)."""
    sweeper.sweep()


def _run(action: Callable[[str, str], None], turn_id: str) -> None:
    """An unexpected error is logged by Celery; the turn's lease runs out and the sweeper gives it back until its deadline."""
    try:
        action(turn_id, WORKER)
    except Turn.DoesNotExist:
        return  # the session was deleted meanwhile
    finally:
        connection.close()  # an idle worker thread holds no connection
