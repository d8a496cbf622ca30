"""What comes out of a call, by both doors of the fake server, over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from council.deliberation.types import Prompt
from council.llm import errors
from council.llm.client import submit
from council.llm.errors import LlmError
from council.llm.types import ChatRequest, Endpoint, Usage
from tests.council.llm.conftest import Ask
from tests.support.fake_openai import FakeModelServer

PROVIDERS = ["openai", "anthropic"]
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}

pytestmark = pytest.mark.parametrize("provider", PROVIDERS)


def test_a_reply_streams_in_order_and_adds_up(fake: FakeModelServer, ask: Ask, provider: str) -> None:
    fake.set_rules({"reply": "one two three four", "tokens_per_write": 1})
    pieces: list[str] = []
    reply = submit(ask(provider=provider), pieces.append).result()
    assert reply.text == "".join(pieces) == "one two three four"
    assert (reply.finish_reason, reply.model) == ("stop", "fake")
    assert reply.usage == Usage(prompt_tokens=3, completion_tokens=4)
    assert 0 < reply.ttft_ms <= reply.latency_ms


def test_the_prompt_arrives_whole(fake: FakeModelServer, ask: Ask, provider: str) -> None:
    submit(ask(provider=provider, max_tokens=77, temperature=0.25)).result()
    body = fake.requests[0].body
    system = body["system"] if provider == "anthropic" else body["messages"][0]["content"]
    assert (system, body["messages"][-1]["content"], body["max_tokens"]) == ("Be brief.", "Why?", 77)
    assert body.get("temperature") == (None if provider == "anthropic" else 0.25)


def test_without_reported_usage_it_is_estimated_and_flagged(fake: FakeModelServer, ask: Ask, provider: str) -> None:
    fake.set_rules({"reply": "x" * 40, "usage": False, "cut_after": 4})
    call = submit(ask(provider=provider, user="y" * 391))
    with pytest.raises(errors.CutStream) as caught:
        call.result()
    prompt = 81 if provider == "anthropic" else 100  # Claude says at the start what the prompt cost
    assert caught.value.usage == Usage(prompt, completion_tokens=5, estimated=True)
    assert call.partial_text == "x" * 20


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        ({"status": 500}, errors.ServerError),
        ({"status": 503, "retry_after": "2"}, errors.ServerError),
        ({"status": 429}, errors.RateLimited),
        ({"status": 400}, errors.BadRequest),
        ({"status": 404}, errors.BadRequest),
        ({"status": 401}, errors.AuthFailed),
        ({"cut_after": 0}, errors.CutStream),
        ({"cut_after": 3}, errors.CutStream),
        ({"malformed": "wire"}, errors.Malformed),
        ({"plain": "html"}, errors.Malformed),
        ({"empty": True}, errors.EmptyReply),
        ({"reply": " \n\t "}, errors.EmptyReply),
        ({"refusal": True}, errors.Refused),
        ({"length": True}, errors.TooLong),
        ({"flood": 100_000}, errors.TooLong),
    ],
)
def test_every_failure_has_its_error(
    fake: FakeModelServer, ask: Ask, provider: str, behaviour: dict[str, Any], kind: type[LlmError]
) -> None:
    fake.set_rules(behaviour)
    with pytest.raises(LlmError) as caught:
        submit(ask(provider=provider, json_schema=SCHEMA)).result()
    assert type(caught.value) is kind
    assert caught.value.usage is not None
    assert len(fake.requests) == 1  # retries are the caller's


def test_retry_after_reaches_the_caller(fake: FakeModelServer, ask: Ask, provider: str) -> None:
    fake.set_rules({"status": 429, "retry_after": "2.5"})
    with pytest.raises(errors.RateLimited) as caught:
        submit(ask(provider=provider)).result()
    assert caught.value.retry_after == 2.5


def test_prose_at_the_limit_is_a_reply_that_says_so(ask: Ask, provider: str) -> None:
    assert submit(ask("fake-length", provider)).result().finish_reason == "length"


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b"])
def test_unicode_line_separators_do_not_end_an_event(
    fake: FakeModelServer, ask: Ask, provider: str, separator: str
) -> None:
    fake.set_rules({"reply": f"a{separator}b"})
    assert submit(ask(provider=provider)).result().text == f"a{separator}b"


def test_nobody_listens_there(provider: str) -> None:
    endpoint = Endpoint("http://127.0.0.1:9/v1", "fake", provider)  # type: ignore[arg-type]  # parametrised as text
    with pytest.raises(errors.Unreachable):
        submit(ChatRequest(endpoint, "", "Why?", timeout_s=5)).result()


def test_a_prompt_becomes_a_request(fake: FakeModelServer, provider: str) -> None:
    prompt = Prompt(system="s", user="u", json_schema={"type": "object"}, max_tokens=9, temperature=0.1)
    request = ChatRequest.of(prompt, Endpoint(fake.url, "fake"), seed=4, timeout_s=2)
    assert (request.system, request.user, request.json_schema) == ("s", "u", {"type": "object"})
    assert (request.max_tokens, request.temperature, request.seed, request.timeout_s) == (9, 0.1, 4, 2)
