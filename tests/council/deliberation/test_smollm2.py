"""The guided dialogue on the real SmolLM2-135M: the smallest model that Quorum promises to work with.

Ten sampling seeds for each kind of turn, on two dialogue seeds (two fences, two orders), over HTTP as the product does it.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from council.deliberation import citations, dialogues
from council.deliberation.types import (
    Answer,
    Ballot,
    Candidate,
    Dissent,
    Evidence,
    Prompt,
    Stage,
    Synthesis,
    TurnContext,
    TurnKind,
)

pytestmark = [pytest.mark.timeout(600)]  # seconds on an idle machine, minutes when every core is taken
ROOT = Path(__file__).resolve().parents[3]
SEEDS = range(10)
PROMPT_TOKENS = 400  # one thread reads about 110 a second

FACTS = {
    "Sick days in the trial": "Sick days fell from 4.1 to 2.9 per head in the 26-week trial. Output stayed level after the first month.",
    "Support on Fridays": "Two customers complained when Friday support slowed from 40 minutes to 9 hours. We hired one more engineer.",
    "What critics say": "Most published trials are run by volunteers without a control group. Their gains cannot be told from enthusiasm.",
}
EVIDENCE = tuple(
    Evidence(
        n=n, pack="Week", entry=title, revision=title, passage=None, title=title, text=text, start=0, end=len(text)
    )
    for n, (title, text) in enumerate(FACTS.items(), 1)
)
OPTIONS = ("Adopt now", "Run a six-month trial", "Do not adopt")
CANDIDATES = tuple(Candidate(id=f"o{n}", text=option, option=option) for n, option in enumerate(OPTIONS, 1))
OWN = Answer(answer="Do not adopt. Friday support slowed [2].", option="Do not adopt")


class Talk(NamedTuple):
    result: dialogues.Result
    calls: int
    prompt_tokens: int  # of the longest prompt


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("llm") / "log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "config.embedded.llm", "--port", str(port)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1/chat/completions"
        finally:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, log.read_text()[-2000:]
            time.sleep(0.1)
    pytest.fail("the model server did not become healthy")


def _call(url: str, prompt: Prompt, seed: int) -> dict[str, Any]:
    body: dict[str, object] = {
        "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
        "max_tokens": prompt.max_tokens,
        "temperature": prompt.temperature,
        "seed": seed,
    }
    if prompt.json_schema:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "reply", "schema": prompt.json_schema},
        }
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return cast("dict[str, Any]", json.load(response))


def talk(url: str, context: TurnContext, seed: int) -> Talk:
    dialogue = dialogues.start(context, "guided", seed // 5)
    prompt, calls, longest = next(dialogue), 0, 0
    while True:
        assert isinstance(prompt, Prompt)
        reply = _call(url, prompt, seed)
        calls, longest = calls + 1, max(longest, reply["usage"]["prompt_tokens"])
        try:
            prompt = dialogue.send(reply["choices"][0]["message"]["content"])
        except StopIteration as end:
            return Talk(cast("dialogues.Result", end.value), calls, longest)


def context(kind: TurnKind, stage: Stage, **changes: object) -> TurnContext:
    values: dict[str, object] = {
        "kind": kind,
        "stage": stage,
        "question": "Should a 60-person software company adopt a four-day work week?",
        "options": OPTIONS,
        "evidence": EVIDENCE,
        "role": "Looks for what breaks",
        "instructions": "Ask what it costs when the promise has to be withdrawn.",
    }
    return TurnContext.model_validate(values | changes)


def assert_cited(text: str) -> None:
    checks = citations.check(text, EVIDENCE, FACTS.get)
    assert checks, text
    assert {one.status for one in checks} == {"verified"}, (text, checks)


def test_answers_are_valid_cited_and_not_always_the_same(server: str) -> None:
    talks = [talk(server, context(TurnKind.ANSWER, Stage.OPENING), seed) for seed in SEEDS]
    answers = [cast("Answer", one.result) for one in talks]
    for answer in answers:
        assert_cited(answer.answer)
    assert len({answer.option for answer in answers}) > 1
    assert max(one.calls for one in talks) <= 5
    assert max(one.prompt_tokens for one in talks) <= PROMPT_TOKENS


def test_ballots_rank_every_candidate_and_differ(server: str) -> None:
    ballot = context(TurnKind.BALLOT, Stage.BALLOT, candidates=CANDIDATES, own=OWN)
    talks = [talk(server, ballot, seed) for seed in SEEDS]
    ballots = [cast("Ballot", one.result) for one in talks]
    assert {tuple(sorted(one.ranking)) for one in ballots} == {("o1", "o2", "o3")}
    assert all(set(one.scores) == {"o1", "o2", "o3"} for one in ballots)
    assert len({one.ranking for one in ballots}) > 1
    assert max(one.calls for one in talks) <= len(CANDIDATES) + 1


def test_syntheses_state_the_outcome_and_cite(server: str) -> None:
    synthesis = context(TurnKind.SYNTHESIS, Stage.SYNTHESIS, winner=CANDIDATES[1], objections=(OWN.answer,))
    talks = [talk(server, synthesis, seed) for seed in SEEDS]
    for one in talks:
        text = cast("Synthesis", one.result).answer
        assert text.startswith("Run a six-month trial. ")
        assert_cited(text)
    assert max(one.calls for one in talks) <= 3


def test_dissents_state_the_position_and_cite(server: str) -> None:
    dissent = context(TurnKind.DISSENT, Stage.SYNTHESIS, winner=CANDIDATES[1], own=OWN)
    talks = [talk(server, dissent, seed) for seed in SEEDS]
    for one in talks:
        text = cast("Dissent", one.result).text
        assert text.startswith("Do not adopt. ")
        assert_cited(text)
    assert max(one.calls for one in talks) <= 3
