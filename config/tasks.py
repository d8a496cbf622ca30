"""The task of everything in ``config.cleaning``."""

from __future__ import annotations

import time
from typing import Final

from celery import shared_task

from config.cleaning import BY_NAME, TASK
from realtime import cleaning, nudge
from realtime.stoppable import stoppable

SLICE_S: Final = 10.0  # then it goes to the end of the queue, so that it does not hold up everybody


@shared_task(name=TASK)
@stoppable
def cleanup(name: str) -> None:
    """Clean for a while. Lost or run twice, it does no harm."""
    cleaner = BY_NAME[name]
    if cleaning.run(name, cleaner.cleaning, time.monotonic() + SLICE_S).more:
        nudge.send_task(TASK, [name], cleaner.queue)
