"""Workers that are asked to stop, as real processes: what they held is free within two seconds, and others go on at once."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from accounts.models import User
from council import services
from council.models import Budget, CouncilSession, LlmCall, SessionEvent, Turn
from tests.chaos.test_durability import assert_whole, convene, ended, running_turns, until
from tests.support.stack import LiveStack

pytestmark = [
    pytest.mark.usefixtures("fake"),
    pytest.mark.django_db(transaction=True),
    pytest.mark.chaos,
    pytest.mark.xdist_group("live"),
]

BACK_S = 2.0  # from the signal until no lease is held
SLOW = [f"fake-option-{number}-slow-200" for number in (1, 2, 3)]  # 200 ms a token: an answer takes many seconds
HURRIED = [f"fake-option-{number}-latency-1500" for number in (1, 2, 3)]


def test_a_turns_worker_hands_back_what_it_is_at_and_another_goes_on(user: User, tmp_path: Path) -> None:
    with LiveStack(tmp_path, only=["turns", "turns-another", "control"]) as stack:
        session = convene(user, HURRIED)
        services.start(user, session.pk)
        until(lambda: len(stack.fake.requests) == 3, 20, "the opening")
        [worker] = {turn.worker for turn in Turn.objects.filter(session=session)}  # the three were asked as one
        at = next(name for name in ("turns", "turns-another") if worker.endswith(f":{stack.pid(name)}"))
        told = time.monotonic()
        took = stack.stop_worker(at)
        until(lambda: ended(session), 10, "the decision by the other worker")
        assert time.monotonic() - told < 10
        assert took < BACK_S + 1
    assert_whole(session)
    retried = SessionEvent.objects.filter(stream=session, type="turn.retrying")
    assert retried.count() == 3
    assert set(Turn.objects.filter(session=session).values_list("model_errors", flat=True)) <= {0, None}
    cancelled = LlmCall.objects.filter(session=session, status="cancelled")
    assert cancelled.count() == 3
    assert not LlmCall.objects.filter(session=session, status__in=["running", "lost"]).exists()


def test_leases_are_back_and_calls_closed_within_two_seconds(user: User, tmp_path: Path) -> None:
    """Alone: nobody else takes the turns, so they can be looked at."""
    with LiveStack(tmp_path, only=["turns"]) as stack:
        session = convene(user, SLOW)
        services.start(user, session.pk)
        until(lambda: sum(seen.tokens_sent > 3 for seen in stack.fake.requests) == 3, 20, "streaming")
        told, told_at = time.monotonic(), time.time()
        stack.tell("turns")
        until(lambda: running_turns(session) == 0, 5, "the end of the leases")
        assert time.monotonic() - told < BACK_S
        until(lambda: all(seen.disconnected_at for seen in stack.fake.requests), 5, "the end of the calls")
        assert max(seen.disconnected_at or 0 for seen in stack.fake.requests) - told_at < BACK_S
        stack.wait_ended("turns")
        assert time.monotonic() - told < BACK_S + 2
        assert (
            list(Turn.objects.filter(session=session).values_list("status", "lease_token", "model_errors"))
            == [("pending", None, 0)] * 3
        )
        budget = Budget.objects.get(session=session)
        assert budget.tokens_reserved == 0
        assert budget.tokens_used > 0  # what was said before the end was paid for
        asked = len(stack.fake.requests)
        services.stop(user, session.pk)
    assert asked == 3  # the council was not asked again by the worker that was to end
    assert CouncilSession.objects.get(pk=session.pk).status == "stopped"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGQUIT])
def test_a_second_signal_ends_it_at_once(user: User, tmp_path: Path, second: signal.Signals) -> None:
    with LiveStack(tmp_path, only=["turns"]) as stack:
        session = convene(user, SLOW)
        services.start(user, session.pk)
        until(lambda: running_turns(session) == 3, 20, "the opening")
        stack.tell("turns")
        assert stack.stop_worker("turns", second) < 0.5
