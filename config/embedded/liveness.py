"""Signs of life. A process that works touches its ready file every ``BEAT_S``; one that is frozen or stuck stops doing so, and whoever
supervises replaces it: its leases would run out, but a single worker of a queue would keep everything that waits there waiting.
"""

import os
import threading
import time
from pathlib import Path

BEAT_S = 2.0


def keep_beating(ready: Path) -> None:
    """From a thread of its own, for as long as this process lives. Prefork children inherit no thread, and so never beat for it."""

    def beat() -> None:
        while True:
            time.sleep(BEAT_S)
            os.utime(ready)

    threading.Thread(target=beat, name="signs-of-life", daemon=True).start()


class Silence:
    """For how long a file has not been touched, in seconds in which we looked. Time in which we were frozen ourselves, as when a
    laptop sleeps, hardly counts, for those that we watch were frozen with us."""

    STEP_S = 1.0  # at most this much passes between two looks

    def __init__(self, ready: Path) -> None:
        self._ready = ready
        self._seen = self._touched()
        self._looked_at = time.monotonic()
        self._silent_s = 0.0

    def measure(self) -> float:
        now = time.monotonic()
        touched = self._touched()
        passed = min(now - self._looked_at, self.STEP_S)
        self._silent_s = self._silent_s + passed if touched == self._seen else 0.0
        self._seen, self._looked_at = touched, now
        return self._silent_s

    def _touched(self) -> int:
        return self._ready.stat().st_mtime_ns if self._ready.exists() else 0
