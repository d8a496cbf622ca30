"""Every point around a commit or a message of a council, killed once with SIGKILL in a real worker: the council comes to its end by
itself, log and rows agree, nothing is counted twice."""

from __future__ import annotations

import itertools
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from accounts.models import User
from council import services
from council.history import stored
from council.models import CouncilSession, SessionEvent
from council.recount import recount
from realtime import nudge
from realtime.failpoints import REGISTRY
from tests.support.stack import LiveStack

pytestmark = [
    pytest.mark.usefixtures("fake"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.chaos,
    pytest.mark.xdist_group("live"),
]

WORKER = "council"
END_S = 240.0  # a lease of 2 s, sweeps, restarts, on a machine that may be very busy
SWEEP_EVERY_S = 0.5


class Scene(NamedTuple):
    """A council in which a point is reached: four seats, three stages."""

    models: Sequence[str] = ("fake-option-1", "fake-option-2", "fake-option-3", "fake")
    options: Sequence[str] = ("Tabs", "Spaces", "Both")
    protocol: tuple[tuple[str, Any], ...] = ()
    besides: tuple[str, ...] = ()  # points that are killed as well, to bring it there
    restart_after_s: float = 0.0
    token_delay_s: float = 0.0
    ends: str = "completed"


MALFORMED = Scene(("fake-malformed", "fake-option-2", "fake-option-3", "fake"))
LOST = Scene(besides=("council.open_calls.committed",))
LATE = Scene(
    besides=("council.open_calls.committed",), protocol=(("turn_deadline_s", 3),), restart_after_s=4.0, ends="failed"
)
OPEN = Scene(("fake", "fake-option-2", "fake-option-3", "fake"), options=())
SLOW = Scene(token_delay_s=0.02)  # longer than text is gathered for
SCENES = {
    "council.fail_attempt": MALFORMED,
    "council.give_back": LOST,
    "council.expire": LATE,
    "nudge.send_task": OPEN,  # in the others the worker goes on with what follows by itself
    "nudge.sent_task": OPEN,
    "nudge.delta": SLOW,
    "nudge.published_delta": SLOW,
    "council.tally.claimed": OPEN,
    "council.tally.stored": OPEN,
    "council.tally.committed": OPEN,
}
POINTS = tuple(name for name in REGISTRY if name.startswith(("council.", "nudge.")))
SAMPLE = ("council.claim.committed", "council.finish.stored", "council.conclude.ended")


def scene_of(point: str) -> Scene:
    return next((scene for prefix, scene in SCENES.items() if point.startswith(prefix)), Scene())


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LiveStack]:
    with LiveStack(tmp_path, env={"TURN_LEASE_S": "2"}, only=()) as running:
        yield running


def convene(user: User, scene: Scene) -> CouncilSession:
    *voters, chair = scene.models
    agents: list[Any] = [{"name": f"Seat {number}", "model": model} for number, model in enumerate(voters, 1)]
    agents.append({"name": "Chair", "model": chair, "chair": True})
    plan = services.Plan(
        question="Tabs or spaces?", options=scene.options, agents=agents, protocol=dict(scene.protocol)
    )
    return services.create_session(user, plan)


def survive(stack: LiveStack, user: User, points: Sequence[str], scene: Scene) -> set[str]:
    """Hold the council with a worker that dies once at each of these points, and start it again; the points at which it died."""
    stack.fake.set_rules({"token_delay_s": scene.token_delay_s})
    council = Kills(stack, [*scene.besides, *points], scene.restart_after_s)
    session = convene(user, scene)
    services.start(user, session.pk)
    council.see_through(session)
    assert_sound(session, points, scene)
    return council.died_at


class Kills:
    """The worker, as its supervisor and beat see it. It is started with the points that are still to come, each time."""

    def __init__(self, stack: LiveStack, points: Sequence[str], restart_after_s: float) -> None:
        self.stack, self.points, self.restart_after_s = stack, dict.fromkeys(points), restart_after_s
        self.died_at: set[str] = set()
        self.said = len(stack.log(WORKER))
        if stack.runs(WORKER):
            stack.kill_worker(WORKER)
        self._start()

    def see_through(self, session: CouncilSession) -> None:
        """To the council's end."""
        began, swept = time.monotonic(), 0.0
        while not ended(session):
            assert time.monotonic() - began < END_S, (self.points, self.died_at, session.status, self._log()[-3000:])
            self._mend()
            if time.monotonic() - swept > SWEEP_EVERY_S:
                swept = time.monotonic()
                nudge.send_task("council.tasks.sweep", [], "control", expires_s=5)
            time.sleep(0.05)
        time.sleep(0.2)  # what comes behind the last commit
        self._look()

    def _mend(self) -> None:
        if self.stack.has_died(WORKER):
            self._look()
            time.sleep(self.restart_after_s)
            self._start()

    def _look(self) -> None:
        if self.stack.has_died(WORKER):
            self.stack.kill_worker(WORKER)  # what it had started
            self.died_at |= set(re.findall(r"failpoint (\S+): kill", self._log()))

    def _start(self) -> None:
        armed = ";".join(f"{point}=kill" for point in self.points if point not in self.died_at)
        on = {"QUORUM_ALLOW_FAILPOINTS": "true", "QUORUM_FAILPOINTS": armed}
        self.stack.start_worker(WORKER, on if armed else None)

    def _log(self) -> str:
        return self.stack.log(WORKER)[self.said :]


def ended(session: CouncilSession) -> bool:
    session.refresh_from_db()
    return session.status in {"completed", "failed", "stopped"}


def assert_sound(session: CouncilSession, points: Sequence[str], scene: Scene) -> None:
    session.refresh_from_db()
    assert session.status == scene.ends, (points, session.reason)
    assert stored.faults(session.pk) == [], points
    ends = SessionEvent.objects.filter(stream=session, type="turn.completed").values_list("payload", flat=True)
    assert set(Counter(event["turn"] for event in ends).values()) <= {1}, points
    if scene.ends == "completed":
        assert recount(session)["agrees"], points


@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", [pytest.param(p, marks=() if p in SAMPLE else pytest.mark.deep) for p in POINTS])
def test_a_council_survives_a_kill_at(stack: LiveStack, user: User, point: str) -> None:
    began = time.monotonic()
    died_at = survive(stack, user, [point], scene_of(point))
    print(f"{point}: {time.monotonic() - began:.1f} s", flush=True)
    assert point in died_at, f"{point} was never reached"


# "5" for the first five of them, "100:200" for the second half beside a run of the first in another checkout.
PAIRS = slice(*map(int, os.environ.get("KILLPOINT_PAIRS", "200").split(":")))


@pytest.mark.deep
@pytest.mark.timeout(7200)
def test_pairs_of_points(stack: LiveStack, user: User) -> None:
    """Of two points that belong to different scenes the first one's is held; a point that is not reached there kills nobody."""
    chosen = random.Random(5).sample(list(itertools.permutations(POINTS, 2)), 200)[PAIRS]
    deaths = Counter[int]()
    for number, pair in enumerate(chosen, 1):
        died_at = survive(stack, user, pair, scene_of(pair[0]))
        deaths[len(died_at & set(pair))] += 1
        print(f"{number}: {pair} died at {sorted(died_at)}", flush=True)
    print(f"councils by how many points of the pair were reached: {dict(deaths)}")
    assert deaths[2] > deaths[0]
