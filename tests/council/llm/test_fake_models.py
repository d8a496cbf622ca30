"""The fake is a first-class adapter: its replies pass our own parsers, its citations verify, its control API answers."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are not in the dev set
import openai
import pytest

from council.deliberation import citations, dialogues
from council.deliberation.dialogues import Dialogue, Result, Style
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
from tests.support.fake_openai import FakeModelServer, fake_process
from tests.support.fake_replies import Speaker
from tests.support.fake_rules import Rules, by_name

TEXT = (
    "# Trial\n\nThe trial in Iceland covered 2,500 workers and found no loss of output. Burnout fell by 12 % as well."
)
OTHER = "# Cost\n\nHiring to cover the fifth day raised payroll by 9 percent in the second year of the scheme."
EVIDENCE = tuple(
    Evidence(
        n=n, pack="Work", entry=f"e{n}", revision=f"r{n}", passage=None, title="T", text=text, start=0, end=len(text)
    )
    for n, text in ((1, TEXT), (2, OTHER))
)
OPTIONS = ("Yes, for all", "No", "Only a pilot")
CANDIDATES = tuple(Candidate(id=f"o{i}", text=option, option=option) for i, option in enumerate(OPTIONS, 1))


def context(kind: TurnKind, stage: Stage, **fields: Any) -> TurnContext:
    given = {
        "question": "Should we work four days a week?",
        "role": "sceptic",
        "evidence": EVIDENCE,
        "options": OPTIONS,
    }
    return TurnContext(kind=kind, stage=stage, **(given | fields))


def play(dialogue: Dialogue, model: str) -> Result:
    """Drive a dialogue with what a fake model says."""
    prompt = next(dialogue)
    while True:
        assert isinstance(prompt, Prompt)
        said = Speaker(model, prompt.system, prompt.user, 1, by_name(model)).say(prompt.json_schema)
        try:
            prompt = dialogue.send(said)
        except StopIteration as end:
            result: Result = end.value
            return result


@pytest.mark.parametrize("style", ["structured", "guided"])
@pytest.mark.parametrize("model", ["fake", "fake-b", "fake-option-2"])
def test_a_seat_keeps_its_opinion_from_opening_to_ballot_and_cites_verifiably(model: str, style: Style) -> None:
    opening = play(dialogues.start(context(TurnKind.ANSWER, Stage.OPENING), style, 1), model)
    assert isinstance(opening, Answer)
    assert [c.status for c in citations.check(opening.answer, EVIDENCE, {"r1": TEXT, "r2": OTHER}.get)] == ["verified"]
    debate = context(TurnKind.ANSWER, Stage.DEBATE, own=opening, others=("No, never.",))
    again = play(dialogues.start(debate, style, 2), model)
    assert isinstance(again, Answer)
    assert again.option == opening.option
    voting = context(TurnKind.BALLOT, Stage.BALLOT, own=again, candidates=CANDIDATES[::-1])
    ballot = play(dialogues.start(voting, style, 3), model)
    assert isinstance(ballot, Ballot)
    best = ballot.ranking[0]
    assert {c.id: c.option for c in CANDIDATES}[best] == opening.option
    assert ballot.scores[best] == max(ballot.scores.values())


@pytest.mark.parametrize("style", ["structured", "guided"])
def test_the_outcome_is_written_up_and_contradicted(style: Style) -> None:
    own = Answer(answer="No.", option="No")
    written = play(
        dialogues.start(context(TurnKind.SYNTHESIS, Stage.SYNTHESIS, winner=CANDIDATES[0]), style, 1), "fake"
    )
    against = context(TurnKind.DISSENT, Stage.SYNTHESIS, winner=CANDIDATES[0], own=own)
    assert isinstance(written, Synthesis)
    assert "Yes, for all" in written.answer
    assert isinstance(play(dialogues.start(against, style, 1), "fake"), Dissent)


def test_seats_of_one_model_differ_by_their_role() -> None:
    roles = ("sceptic", "economist", "nurse", "engineer", "teacher", "lawyer")
    seats = [context(TurnKind.ANSWER, Stage.OPENING, role=role) for role in roles]
    answers = [play(dialogues.start(seat, "structured", 1), "fake") for seat in seats]
    assert len({answer.option for answer in answers if isinstance(answer, Answer)}) > 1


def test_the_named_option_is_chosen_and_confidence_shown() -> None:
    answer = play(dialogues.start(context(TurnKind.ANSWER, Stage.OPENING), "structured", 1), "fake-option-1-confident")
    assert isinstance(answer, Answer)
    assert (answer.option, answer.confidence) == ("No", 0.95)


PERSON = {
    "$defs": {"Tag": {"enum": ["a", "b"]}},
    "type": "object",
    "properties": {
        "tags": {"type": "array", "items": {"$ref": "#/$defs/Tag"}, "uniqueItems": True, "minItems": 1},
        "age": {"type": "integer", "minimum": 18, "maximum": 20},
        "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 5},
        "note": {"anyOf": [{"type": "string", "maxLength": 10}, {"type": "null"}]},
        "kind": {"const": "person"},
        "rows": {
            "type": "array",
            "minItems": 2,
            "items": {"type": "object", "properties": {"ok": {"type": "boolean"}}},
        },
        "maybe": {"type": ["string", "null"]},
    },
    "required": ["tags", "age", "share", "note", "kind", "rows", "maybe"],
}


@pytest.mark.parametrize("user", ["a", "b", "c", "d"])
def test_instances_are_valid_and_deterministic(user: str) -> None:
    said = {Speaker("fake", "", user, 1, by_name("fake")).say(PERSON) for _ in range(3)}
    assert len(said) == 1
    jsonschema.validate(json.loads(said.pop()), PERSON)


def test_names_spell_behaviour_and_rules_override_it() -> None:
    behaviour = by_name("fake-option-2-latency-200-slow")
    assert (behaviour.option, behaviour.latency_s, behaviour.token_delay_s) == (2, 0.2, 0.05)
    rules = Rules()
    rules.replace([{"model": "fake-*", "contains": "please", "skip": 1, "times": 2, "status": 503}])
    seen = [rules.behaviour("fake-x", "please").status for _ in range(4)]
    assert seen == [200, 503, 503, 200]
    assert [rules.behaviour("fake-flaky-1", "p").status for _ in range(2)] == [500, 200]


def test_a_rule_with_a_typo_is_refused() -> None:
    with pytest.raises(TypeError):
        Rules().replace([{"latncy_s": 1}])


def test_embeddings_are_unit_vectors_that_know_shared_words(fake: FakeModelServer) -> None:
    async def vectors(*texts: str) -> list[list[float]]:
        async with openai.AsyncOpenAI(base_url=fake.url, api_key="x") as client:
            answer = await client.embeddings.create(model="e", input=list(texts), dimensions=64)
        return [item.embedding for item in answer.data]

    near, same, far = asyncio.run(vectors("four day week", "a four day week", "grain harvest"))
    assert len(near) == 64
    assert sum(x * x for x in near) == pytest.approx(1, abs=1e-5)
    assert sum(map(float.__mul__, near, same)) > sum(map(float.__mul__, near, far))


def call(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"content-type": "application/json"})) as answer:
        return json.load(answer)


def test_the_process_answers_models_chat_and_control() -> None:
    with fake_process() as url:
        control = url.removesuffix("/v1") + "/control"
        call(f"{control}/rules", {"rules": [{"reply": "hello"}]})
        asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        said = call(f"{url}/chat/completions", asked)
        assert said["choices"][0]["message"]["content"] == "hello"
        assert call(f"{control}/requests")["requests"][0]["model"] == "m"
        assert "fake-hang" in {model["id"] for model in call(f"{url}/models")["data"]}
        call(f"{control}/reset", {})
        assert call(f"{control}/stats")["requests"] == 0
