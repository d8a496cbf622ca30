"""Calls as threads see them: waiting, ending, deadlines, pooling, forks."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from council.llm import client, loop
from council.llm.client import Call, submit
from council.llm.errors import Cancelled, ModelTimeout, RealModelForbidden
from council.llm.types import ChatRequest, Endpoint
from tests.council.llm.conftest import Ask
from tests.support.fake_openai import FakeModelServer

ROOT = Path(__file__).parents[3]


def wait_for_text(call: Call) -> None:
    deadline = time.monotonic() + 5
    while not call.partial_text and time.monotonic() < deadline:
        time.sleep(0.002)


def hang_up(fake: FakeModelServer, call: Call) -> float:
    """Cancel, and how long it took until the server saw the connection go, in seconds."""
    before = time.time()
    assert call.cancel()
    with pytest.raises(Cancelled):
        call.result(5)
    while fake.requests[-1].disconnected_at is None:
        assert time.time() < before + 5
        time.sleep(0.001)
    return fake.requests[-1].disconnected_at - before


def test_cancel_in_mid_stream_closes_the_connection_within_100_ms(fake: FakeModelServer, ask: Ask) -> None:
    took = []
    for _ in range(5):
        call = submit(ask("fake-slow"))
        wait_for_text(call)
        took.append(hang_up(fake, call))
    assert statistics.median(took) < 0.1
    assert all(request.tokens_after_disconnect <= 1 for request in fake.requests)


def test_cancel_before_the_first_token_closes_the_connection_within_100_ms(fake: FakeModelServer, ask: Ask) -> None:
    took = []
    for n in range(1, 6):
        call = submit(ask("fake-hang"))
        while len(fake.requests) < n:
            time.sleep(0.002)
        took.append(hang_up(fake, call))
    assert statistics.median(took) < 0.1


def test_no_text_is_handed_on_after_cancel(ask: Ask) -> None:
    pieces: list[str] = []
    call = submit(ask("fake-slow-5"), pieces.append)
    wait_for_text(call)
    call.cancel()
    seen = len(pieces)
    time.sleep(0.1)
    assert len(pieces) == seen


def test_cancel_after_the_end_changes_nothing(ask: Ask) -> None:
    call = submit(ask())
    text = call.result().text
    assert not call.cancel()
    assert call.result().text == text


def test_a_hanging_model_meets_the_deadline(ask: Ask) -> None:
    started = time.monotonic()
    with pytest.raises(ModelTimeout):
        submit(ask("fake-hang", timeout_s=0.3)).result()
    assert 0.3 <= time.monotonic() - started < 0.8


def test_the_deadline_covers_the_whole_stream(fake: FakeModelServer, ask: Ask) -> None:
    call = submit(ask("fake-slow", timeout_s=0.3))
    with pytest.raises(ModelTimeout) as caught:
        call.result()
    assert call.partial_text
    assert caught.value.usage is not None
    assert caught.value.usage.completion_tokens > 0


def test_giving_up_the_wait_leaves_the_call_running(ask: Ask) -> None:
    call = submit(ask("fake-latency-200"))
    with pytest.raises(TimeoutError):
        call.result(timeout=0.01)
    assert call.result().text


def test_leaving_the_with_block_ends_the_call(ask: Ask) -> None:
    with submit(ask("fake-hang")) as call:
        assert not call.done()
    with pytest.raises(Cancelled):
        call.result()


def test_the_end_is_announced(ask: Ask) -> None:
    ended = threading.Event()
    submit(ask()).add_done_callback(ended.set)
    assert ended.wait(5)


def test_what_a_listener_raises_comes_out_of_the_call(ask: Ask) -> None:
    def listener(text: str) -> None:
        raise ZeroDivisionError(text)

    with pytest.raises(ZeroDivisionError):
        submit(ask(), listener).result()


def test_connections_are_reused_across_calls_keys_and_models(fake: FakeModelServer, ask: Ask) -> None:
    submit(ask()).result()
    before = fake.accepted
    for n in range(20):
        endpoint = Endpoint(fake.url, f"fake-{n}x", api_key=f"key-{n % 3}")
        submit(ChatRequest(endpoint, "", "Why?", timeout_s=5)).result()
    assert fake.accepted == before


def test_a_broken_call_does_not_poison_the_pool(fake: FakeModelServer, ask: Ask) -> None:
    for model in ("fake-cut", "fake-hang", "fake-garbled"):
        call = submit(ask(model, timeout_s=0.2))
        with pytest.raises(Exception, match=r"cut_stream|timeout|malformed"):
            call.result()
    assert submit(ask()).result().text


def test_32_calls_run_in_parallel_on_one_thread(ask: Ask) -> None:
    submit(ask()).result()
    started = time.monotonic()
    calls = [submit(ask("fake-latency-200")) for _ in range(32)]
    assert all(call.result().text for call in calls)
    assert time.monotonic() - started < 1.5  # one after the other would take 6.4 s
    assert sum(thread.name == "llm-loop" for thread in threading.enumerate()) == 1


def test_slow_streams_end_soon_after_their_last_token(fake: FakeModelServer, ask: Ask) -> None:
    fake.set_rules({"reply": "word " * 40, "token_delay_s": 0.01})
    reply = submit(ask()).result()
    sent = fake.requests[0].finished_at
    assert reply.text == "word " * 40
    assert sent is not None
    assert time.time() - sent < 0.3


@pytest.mark.parametrize("url", ["https://models.invalid/v1", "http://192.0.2.1/v1", "http://localhost.invalid/v1"])
def test_real_models_are_forbidden_in_tests(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    started: list[object] = []
    monkeypatch.setattr(client, "Call", lambda *given: started.append(given))  # so that a broken guard sends nothing
    with pytest.raises(RealModelForbidden):
        submit(ChatRequest(Endpoint(url, "gpt"), "", "Why?"))
    assert started == []


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/v1", "http://localhost/v1", "http://[::1]:5/v1", "http://127.8.8.8/"]
)
def test_this_machine_is_known_by_its_names(url: str) -> None:
    assert loop.is_loopback(url)


def test_closing_ends_calls_and_the_next_call_starts_afresh(ask: Ask) -> None:
    call = submit(ask("fake-hang"))
    loop.close()
    with pytest.raises(Cancelled):
        call.result(5)
    assert submit(ask()).result().text


FORKING = """
import os, sys
from council.llm.client import submit
from council.llm.types import ChatRequest, Endpoint

def call():
    return submit(ChatRequest(Endpoint(sys.argv[1], "fake"), "", "Why?", timeout_s=5)).result().text

before, pending = call(), submit(ChatRequest(Endpoint(sys.argv[1], "fake-latency-200"), "", "Why?", timeout_s=5))
child = os.fork()
if child == 0:
    os._exit(0 if call() == before else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert pending.result().text and call() == before
print("both")
"""


def test_a_forked_child_and_its_parent_both_go_on(fake: FakeModelServer) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING, fake.url], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("both", 0), done.stderr
