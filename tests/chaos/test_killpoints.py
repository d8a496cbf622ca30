"""Every point around a commit or a message of a council, killed once with SIGKILL in a real worker: the council comes to its end by
itself, log and rows agree, nothing is counted twice."""

from __future__ import annotations

import itertools
import random
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

WORKERS = ("turns", "control")
END_S = 90.0  # a lease of 2 s, sweeps, restarts, on a busy machine
SWEEP_EVERY_S = 0.5


class Scene(NamedTuple):
    """A council in which a point is reached: four seats, three stages."""

    models: Sequence[str] = ("fake-option-1", "fake-option-2", "fake-option-3", "fake")
    options: Sequence[str] = ("Tabs", "Spaces", "Both")
    protocol: tuple[tuple[str, Any], ...] = ()
    besides: tuple[str, ...] = ()  # points that are killed as well, to bring it there
    restart_after_s: float = 0.0
    ends: str = "completed"


MALFORMED = Scene(("fake-malformed", "fake-option-2", "fake-option-3", "fake"))
LOST = Scene(besides=("council.open_calls.committed",))
LATE = Scene(
    besides=("council.open_calls.committed",), protocol=(("turn_deadline_s", 3),), restart_after_s=4.0, ends="failed"
)
OPEN = Scene(("fake", "fake-option-2", "fake-option-3", "fake"), options=())
SCENES = {
    "council.fail_attempt": MALFORMED,
    "council.give_back": LOST,
    "council.expire": LATE,
    "council.tally.claimed": OPEN,
    "council.tally.stored": OPEN,
    "council.tally.committed": OPEN,
}
POINTS = tuple(name for name in REGISTRY if not name.startswith("knowledge."))
SAMPLE = ("council.claim.committed", "council.finish.stored", "council.conclude.ended")


def scene_of(point: str) -> Scene:
    return next((scene for prefix, scene in SCENES.items() if point.startswith(prefix)), Scene())


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LiveStack]:
    with LiveStack(tmp_path, env={"TURN_LEASE_S": "2"}, only=WORKERS) as running:
        yield running


def convene(user: User, scene: Scene) -> CouncilSession:
    *voters, chair = scene.models
    agents: list[Any] = [{"name": f"Seat {number}", "model": model} for number, model in enumerate(voters, 1)]
    agents.append({"name": "Chair", "model": chair, "chair": True})
    plan = services.Plan(
        question="Tabs or spaces?", options=scene.options, agents=agents, protocol=dict(scene.protocol)
    )
    return services.create_session(user, plan)


def survive(stack: LiveStack, user: User, points: Sequence[str], scene: Scene) -> int:
    """Hold the council with workers that die at these points, and start them again; how many deaths there were."""
    armed = ";".join(f"{point}=kill" for point in dict.fromkeys([*scene.besides, *points]))
    for queue in WORKERS:
        stack.kill_worker(queue)
        stack.start_worker(queue, {"QUORUM_ALLOW_FAILPOINTS": "true", "QUORUM_FAILPOINTS": armed})
    session = convene(user, scene)
    services.start(user, session.pk)
    deaths, began, swept = 0, time.monotonic(), 0.0
    while not ended(session):
        assert time.monotonic() - began < END_S, (points, session.status, logs(stack))
        for queue in WORKERS:
            if stack.has_died(queue):
                deaths += 1
                stack.kill_worker(queue)  # what it had started
                time.sleep(scene.restart_after_s)
                stack.start_worker(queue)
        if time.monotonic() - swept > SWEEP_EVERY_S:
            swept = time.monotonic()
            nudge.send_task("council.tasks.sweep", [], "control", expires_s=5)
        time.sleep(0.05)
    deaths += sum(map(stack.has_died, WORKERS))  # at a point behind the last commit
    for queue in WORKERS:
        if stack.has_died(queue):
            stack.kill_worker(queue)
            stack.start_worker(queue)
    assert_sound(session, points, scene)
    return deaths


def ended(session: CouncilSession) -> bool:
    session.refresh_from_db()
    return session.status in {"completed", "failed", "stopped"}


def logs(stack: LiveStack) -> str:
    return "\n".join(stack.log(queue)[-1500:] for queue in WORKERS)


def assert_sound(session: CouncilSession, points: Sequence[str], scene: Scene) -> None:
    session.refresh_from_db()
    assert session.status == scene.ends, (points, session.reason)
    assert stored.faults(session.pk) == [], points
    ends = SessionEvent.objects.filter(stream=session, type="turn.completed").values_list("payload", flat=True)
    assert set(Counter(event["turn"] for event in ends).values()) <= {1}, points
    if scene.ends == "completed":
        assert recount(session)["agrees"], points


@pytest.mark.timeout(400)
def test_a_sample_of_points(stack: LiveStack, user: User) -> None:
    for point in SAMPLE:
        deaths = survive(stack, user, [point], scene_of(point))
        print(f"{point}: {deaths} killed")
        assert deaths >= 1, f"{point} was never reached"


@pytest.mark.deep
@pytest.mark.timeout(3600)
def test_every_point(stack: LiveStack, user: User) -> None:
    for point in POINTS:
        scene = scene_of(point)
        deaths = survive(stack, user, [point], scene)
        print(f"{point}: {deaths} killed")
        assert deaths > (point not in scene.besides and len(scene.besides)), f"{point} was never reached"


PAIRS = 200


@pytest.mark.deep
@pytest.mark.timeout(7200)
def test_pairs_of_points(stack: LiveStack, user: User) -> None:
    """Of two points that belong to different scenes the first one's is held; a point that is not reached there kills nobody."""
    chosen = random.Random(5).sample(list(itertools.permutations(POINTS, 2)), PAIRS)
    deaths = Counter[int]()
    for number, pair in enumerate(chosen, 1):
        deaths[survive(stack, user, pair, scene_of(pair[0]))] += 1
        print(f"{number}: {pair}")
    print(f"councils by how many workers were killed: {dict(deaths)}")
    assert deaths[0] < PAIRS / 10
