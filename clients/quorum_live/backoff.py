"""How long to wait before the next try: longer each time, and never all clients at the same moment."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Seconds. Each pause is between a half and the whole of ``first * 2**failures``, at most ``longest``."""

    first: float = 0.5
    longest: float = 15.0
    failures: int = 0
    dice: random.Random = field(default_factory=random.Random)

    def pause(self) -> float:
        """The next pause; counts a failure."""
        whole: float = min(self.longest, self.first * 2 ** min(self.failures, 30))
        self.failures += 1
        return whole * self.dice.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        self.failures = 0
