"""Servers that do not know a parameter are believed, once, and remembered."""

from __future__ import annotations

import pytest

from council.llm.client import submit
from council.llm.dialect import Dialect, is_strict
from council.llm.errors import BadRequest
from tests.council.llm.conftest import Ask
from tests.support.fake_openai import FakeModelServer

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


def formats(fake: FakeModelServer) -> list[str | None]:
    return [(request.body.get("response_format") or {}).get("type") for request in fake.requests]


def test_a_schema_is_sent_in_strict_mode_where_it_can_be(fake: FakeModelServer, ask: Ask) -> None:
    submit(ask(json_schema=SCHEMA)).result()
    assert fake.requests[0].body["response_format"]["json_schema"]["strict"] is True
    assert not is_strict({**SCHEMA, "required": []})
    assert not is_strict({"anyOf": [{"type": "object", "properties": {}}]})


def test_an_unknown_json_schema_degrades_to_json_object_with_the_schema_in_words(
    fake: FakeModelServer, ask: Ask
) -> None:
    fake.set_rules({"unsupported": ["json_schema"]})
    reply = submit(ask("fake-a", json_schema=SCHEMA)).result()
    assert formats(fake) == ["json_schema", "json_object"]
    assert '"additionalProperties": false' in fake.requests[1].body["messages"][0]["content"]
    assert '"answer"' in reply.text


def test_a_server_without_any_response_format_gets_none(fake: FakeModelServer, ask: Ask) -> None:
    fake.set_rules({"unsupported": ["response_format"]})
    submit(ask("fake-b", json_schema=SCHEMA)).result()
    assert formats(fake) == ["json_schema", "json_object", None]


def test_what_was_learned_is_remembered_per_model(fake: FakeModelServer, ask: Ask) -> None:
    fake.set_rules({"model": "fake-c", "unsupported": ["json_schema"]})
    for model in ("fake-c", "fake-c", "fake-d"):
        submit(ask(model, json_schema=SCHEMA)).result()
    assert formats(fake) == ["json_schema", "json_object", "json_object", "json_schema"]


def test_a_server_that_dislikes_one_schema_is_asked_with_the_next(fake: FakeModelServer, ask: Ask) -> None:
    fake.set_rules({"times": 1, "status": 400, "message": "Invalid schema for response_format 'reply'"})
    for _ in range(2):
        submit(ask("fake-e", json_schema=SCHEMA)).result()
    assert formats(fake) == ["json_schema", "json_object", "json_schema"]


@pytest.mark.parametrize(
    ("parameter", "instead"),
    [("max_tokens", "max_completion_tokens"), ("temperature", None), ("stream_options", None), ("seed", None)],
)
def test_other_unknown_parameters_are_left_out(
    fake: FakeModelServer, ask: Ask, parameter: str, instead: str | None
) -> None:
    fake.set_rules({"unsupported": [parameter]})
    reply = submit(ask(f"fake-x-{parameter}", seed=7)).result()
    first, second = (request.body for request in fake.requests)
    assert parameter in first
    assert parameter not in second
    assert instead is None or second[instead] == first[parameter]
    assert reply.usage.estimated is (parameter == "stream_options")


def test_a_complaint_about_something_else_is_permanent(fake: FakeModelServer, ask: Ask) -> None:
    fake.set_rules({"status": 400, "message": "the prompt exceeds the context length"})
    with pytest.raises(BadRequest, match="context length"):
        submit(ask(json_schema=SCHEMA)).result()
    assert len(fake.requests) == 1


def test_complaining_about_everything_ends() -> None:
    dialect: Dialect | None = Dialect("json_schema")
    complaint = "response_format max_completion_tokens stream_options temperature seed"
    steps = 0
    while dialect is not None:
        dialect = dialect.without(complaint)
        steps += 1
    assert steps == 7
