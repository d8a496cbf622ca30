"""Limits of a model over all workers, in a real Valkey: at once, calls a minute, tokens a minute; leases; and Valkey away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from uuid import uuid4

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from council import limits
from council.limits import Limits, Place
from council.llm import client
from council.llm.errors import Cancelled, Limited
from council.llm.types import ChatRequest, Endpoint, Usage
from realtime import nudge
from tests.support.fake_openai import FakeModelServer


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    limits.breaker.closed_until = 0
    yield
    limits.breaker.closed_until = 0


def terms(**given: float) -> Limits:
    return Limits(key=uuid4().hex, **given)  # type: ignore[arg-type]  # numbers by name


def place(of: Limits, tokens: int = 100) -> Place:
    return Place(of, uuid4(), tokens)


def test_so_many_calls_run_at_once_and_no_more() -> None:
    of = terms(at_once=2)
    first, second, third = place(of), place(of), place(of)
    assert (first.enter(), second.enter()) == (0, 0)
    assert 0 < third.enter() < 1
    first.leave(Usage(1, 1))
    assert third.enter() == 0


def test_workers_that_ask_together_do_not_pass_the_limit() -> None:
    of, inside, most = terms(at_once=3), [0], [0]
    lock = threading.Lock()

    def work() -> None:
        for _ in range(5):
            one = place(of)
            while one.enter():
                time.sleep(0.001)
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.002)
            with lock:
                inside[0] -= 1
            one.leave(Usage(0, 0))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 3


def test_no_window_of_the_length_of_a_minute_holds_more_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a minute of 150 ms. A bucket that starts full would let nearly twice as many through in the first one."""
    monkeypatch.setattr(limits, "WINDOW_S", 0.15)
    of = terms(calls_per_minute=4)
    made: list[float] = []
    while len(made) < 14:
        if place(of).enter() == 0:
            made.append(time.monotonic())
        time.sleep(0.002)
    assert all(later - earlier > 0.14 for earlier, later in zip(made, made[4:], strict=False))
    assert any(later - earlier < 0.05 for earlier, later in pairwise(made))  # and they are not merely spread out


def test_the_answer_says_when_it_is_worth_asking_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WINDOW_S", 0.3)
    of = terms(calls_per_minute=1)
    assert place(of).enter() == 0
    again = place(of)
    wait = again.enter()
    assert 0.2 < wait < 0.4
    time.sleep(wait)
    assert again.enter() == 0


def test_tokens_are_counted_as_reserved_and_then_as_used() -> None:
    of = terms(tokens_per_minute=1000)
    first = place(of, 800)
    assert first.enter() == 0
    assert place(of, 300).enter() > 0
    first.leave(Usage(50, 50))
    assert place(of, 300).enter() == 0
    assert place(of, 700).enter() > 0


def test_a_call_larger_than_the_limit_is_let_in_alone() -> None:
    of = terms(tokens_per_minute=1000)
    assert place(of, 5000).enter() == 0
    assert place(of, 1).enter() > 0


def test_the_window_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WINDOW_S", 0.1)
    of = terms(tokens_per_minute=1000)
    assert place(of, 900).enter() == 0
    time.sleep(0.12)
    assert place(of, 900).enter() == 0
    time.sleep(1.3)
    assert not any(nudge.client().exists(key) for key in limits._keys(of.key)[1:])


def test_the_place_of_a_worker_that_died_is_free_after_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE_S", 0.2)
    of = terms(at_once=1)
    assert place(of).enter() == 0  # the renewer comes round after RENEW_S, which is later
    other = place(of)
    assert other.enter() > 0
    time.sleep(0.25)
    assert other.enter() == 0


def test_a_place_that_is_held_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE_S", 0.3)
    monkeypatch.setattr(limits, "RENEW_S", 0.05)
    monkeypatch.setattr(limits, "_renewer", limits._Renewer())
    of = terms(at_once=1)
    held = place(of)
    assert held.enter() == 0
    time.sleep(0.6)
    assert place(of).enter() > 0
    held.leave(Usage(0, 0))
    assert place(of).enter() == 0


def test_without_valkey_calls_are_made_uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    away = redis.Redis(port=1, socket_connect_timeout=0.2, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(nudge, "client", lambda: away)
    of, before = terms(at_once=1), limits.UNCOUNTED._value.get()
    first, second = place(of), place(of)
    assert (first.enter(), second.enter()) == (0, 0)
    first.leave(Usage(0, 0))
    assert limits.UNCOUNTED._value.get() == before + 2
    assert limits.breaker.closed_until > time.monotonic()  # a frozen Valkey is not asked by every call
    away.close()


# --- At the gate of a call ------------------------------------------------------------------------------------------------------


def request(fake: FakeModelServer, model: str = "fake", timeout_s: float = 5) -> ChatRequest:
    return ChatRequest(Endpoint(fake.url, model), "", "Why?", timeout_s=timeout_s)


def test_a_call_waits_for_its_place_and_gives_it_back(fake_server: FakeModelServer) -> None:
    of = terms(at_once=1)
    calls = [client.submit(request(fake_server, "fake-latency-50"), gate=place(of)) for _ in range(3)]
    assert all(call.result().text for call in calls)
    assert all(
        call.result().latency_ms < 1000 * call.seconds + 1 < 400 for call in calls
    )  # waiting is not the call's time


def test_whoever_finds_no_place_in_time_is_told_so(fake_server: FakeModelServer) -> None:
    of = terms(at_once=1, wait_s=0.2)
    with client.submit(request(fake_server, "fake-hang"), gate=place(of)):
        time.sleep(0.1)
        with pytest.raises(Limited) as caught:
            client.submit(request(fake_server), gate=place(of)).result()
    assert (caught.value.retryable, caught.value.blame, caught.value.usage) == (True, False, Usage(0, 0))


def test_a_call_that_is_cancelled_while_it_waits_or_runs_holds_nothing(fake_server: FakeModelServer) -> None:
    of = terms(at_once=1)
    running = client.submit(request(fake_server, "fake-hang"), gate=place(of))
    time.sleep(0.1)
    waiting = [client.submit(request(fake_server), gate=place(of)) for _ in range(5)]
    time.sleep(0.05)
    for call in (*waiting, running):
        call.cancel()
        with pytest.raises(Cancelled):
            call.result()
    assert client.submit(request(fake_server), gate=place(of)).result(3).text
