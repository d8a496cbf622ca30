"""How long councils stood still after a fault: from the fault to the next committed progress of every council that was running."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles

from bench.chaos.faults import Struck
from bench.chaos.flow import Database

PROGRESS = ("turn.completed", "turn.failed", "round.closed", "tally.computed", "decision.reached", "session.completed")
LOG = """
    SELECT stream_id::text, type, extract(epoch FROM created_at)::float8 FROM council_sessionevent
    WHERE type = 'session.started' OR type = ANY(%s) ORDER BY stream_id, seq
"""


@dataclass
class Course:
    """Of one council, in seconds since the epoch: when it was started and each time that something was finished."""

    started: float = 0.0
    progress: list[float] = field(default_factory=list)

    def stood_still(self, at: float) -> float | None:
        """Seconds from ``at`` to the next progress; None when it did not run at that time."""
        following = bisect_right(self.progress, at)
        if at < self.started or following == len(self.progress):
            return None
        return self.progress[following] - at


def courses(database: Database) -> dict[str, Course]:
    found: dict[str, Course] = defaultdict(Course)
    for session, kind, at in database.rows(LOG, [list(PROGRESS)]):
        if kind == "session.started":
            found[session].started = at
        else:
            found[session].progress.append(at)
    return found


def recoveries(struck: Iterable[Struck], of: Mapping[str, Course]) -> dict[str, list[float]]:
    """By kind of fault, one time for each fault and council that was running."""
    found: dict[str, list[float]] = defaultdict(list)
    for one in struck:
        if one.pid is not None:
            times = (course.stood_still(one.at) for course in of.values())
            found[one.fault.kind] += [seconds for seconds in times if seconds is not None]
    return found


def summary(times: Sequence[float]) -> list[str]:
    """n, p50, p99 and maximum, in seconds."""
    if len(times) < 2:
        only = f"{times[0]:.1f}" if times else "-"
        return [str(len(times)), only, only, only]
    cuts = quantiles(times, n=100, method="inclusive")
    return [str(len(times)), f"{cuts[49]:.1f}", f"{cuts[98]:.1f}", f"{max(times):.1f}"]
