"""What only one of the two APIs does."""

from __future__ import annotations

import pytest

from council.llm import errors
from council.llm.client import submit
from council.llm.errors import LlmError
from council.llm.types import ChatRequest, Endpoint
from tests.council.llm.conftest import Ask
from tests.support.fake_openai import FakeModelServer


def test_a_server_that_does_not_stream_is_understood(fake: FakeModelServer, ask: Ask) -> None:
    fake.set_rules({"plain": "json", "reply": "all at once"})
    reply = submit(ask()).result()
    assert (reply.text, reply.usage.estimated) == ("all at once", False)


@pytest.mark.parametrize(
    ("provider", "code", "kind"),
    [
        ("openai", "rate_limit_exceeded", errors.RateLimited),
        ("openai", "503", errors.ServerError),
        ("openai", "mystery", errors.ServerError),
        ("anthropic", "overloaded_error", errors.ServerError),
        ("anthropic", "rate_limit_error", errors.RateLimited),
        ("anthropic", "invalid_request_error", errors.BadRequest),
    ],
)
def test_an_error_in_mid_stream_is_told_by_its_code(
    fake: FakeModelServer, ask: Ask, provider: str, code: str, kind: type[LlmError]
) -> None:
    fake.set_rules({"stream_error": code})
    with pytest.raises(LlmError) as caught:
        submit(ask(provider=provider)).result()
    assert type(caught.value) is kind


def test_claude_gets_the_schema_as_output_config(fake: FakeModelServer, ask: Ask) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    reply = submit(ask("fake", "anthropic", json_schema=schema)).result()
    assert fake.requests[0].body["output_config"]["format"] == {"type": "json_schema", "schema": schema}
    assert reply.text.startswith('{"n": ')


def test_a_claude_base_url_with_v1_works_too(fake: FakeModelServer) -> None:
    endpoint = Endpoint(fake.url, "fake", "anthropic", api_key="k")
    submit(ChatRequest(endpoint, "", "Why?", timeout_s=5)).result()
    assert fake.requests[0].path == "/v1/messages"
