"""What asyncio leaves to us."""

from __future__ import annotations

import asyncio
from typing import Any

PATIENCE_S = 0.5


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks until they are over; their results and errors are dropped.

    Once is not enough: redis-py 8.1 swallows a cancellation that arrives while it connects, and the task waits on.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=PATIENCE_S)
    await asyncio.gather(*tasks, return_exceptions=True)
