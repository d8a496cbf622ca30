"""Leaving a server alone for a while after it did not answer, so that a frozen one costs one request its time-out and not every one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

PAUSE_AFTER_FAILURE_S: Final = 5.0


@dataclass
class Breaker:
    """Per process: until when (monotonic seconds) the server is not asked again."""

    closed_until: float = 0.0

    def is_open(self) -> bool:
        return time.monotonic() >= self.closed_until

    def trip(self) -> None:
        self.closed_until = time.monotonic() + PAUSE_AFTER_FAILURE_S
