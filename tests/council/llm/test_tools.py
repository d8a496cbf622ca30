"""Tools over both wires: what goes out, what comes back in pieces, and servers that will have none of it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from council.deliberation.dialogues.asking import object_schema
from council.deliberation.tools import Exchange, Tool, ToolCall, ToolCalls
from council.llm import client
from council.llm.errors import EmptyReply, TooLong, ToolsRefused
from council.llm.types import Usage
from tests.council.llm.conftest import Ask
from tests.support.fake_openai import FakeModelServer

TOOL = Tool(
    name="search_packs",
    description="Search.",
    parameters={"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
)
OPEN: dict[str, Any] = {
    "tools": (TOOL,),
    "may_call": True,
    "json_schema": object_schema({"answer": {"type": "string"}}),
}
QUESTION = "<<12345678 question>>\nWhy do ferries wait?\n<<12345678 end>>"
SAID = ToolCalls(
    calls=(ToolCall(id="call_0", name="search_packs", arguments='{"query": "ferries"}'),), text="Let me see."
)
DONE = Exchange(said=SAID, results=("Nothing was found.",))
BROKEN = Exchange(said=ToolCalls(calls=(ToolCall(id="a", name="x", arguments='{"q": '),)), results=("No.",))
both = pytest.mark.parametrize("provider", ["openai", "anthropic"])


@both
def test_a_call_is_put_together_from_its_pieces(ask: Ask, provider: str) -> None:
    reply = client.submit(ask("fake-tools-1", provider, user=QUESTION, **OPEN)).result()
    (call,) = reply.calls
    assert call.name == "search_packs"
    assert call.given == {"query": "Why do ferries wait?", "k": 3}
    assert (reply.text, reply.finish_reason) == ("", "tool_calls")


@both
def test_what_was_found_goes_back_and_is_answered(ask: Ask, fake: FakeModelServer, provider: str) -> None:
    request = ask("fake-tools-1", provider, user=QUESTION, exchange=(DONE,), **OPEN)
    reply = client.submit(request).result()
    assert reply.calls == ()
    assert reply.text.startswith('{"answer"')
    assert "Nothing was found." in str(fake.requests[-1].body["messages"])


def test_the_history_as_openai_wants_it(ask: Ask, fake: FakeModelServer) -> None:
    client.submit(ask("fake-tools-1", exchange=(DONE,), remark="Again.", **(OPEN | {"may_call": False}))).result()
    sent = fake.requests[-1].body
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "tool", "user"]
    assert sent["messages"][2]["tool_calls"][0]["id"] == sent["messages"][3]["tool_call_id"] == "call_0"
    assert sent["tool_choice"] == "none"
    assert sent["response_format"]["type"] == "json_schema"


def test_the_history_as_anthropic_wants_it(ask: Ask, fake: FakeModelServer) -> None:
    closed = OPEN | {"may_call": False}
    client.submit(ask("fake-tools-1", "anthropic", exchange=(DONE,), remark="Again.", **closed)).result()
    sent = fake.requests[-1].body
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in sent["messages"][1]["content"]] == ["text", "tool_use"]
    assert [block["type"] for block in sent["messages"][2]["content"]] == ["tool_result", "text"]
    assert sent["tool_choice"] == {"type": "none"}


@both
def test_broken_arguments_are_not_sent_back_as_they_were(ask: Ask, fake: FakeModelServer, provider: str) -> None:
    client.submit(ask("fake-tools-1", provider, exchange=(BROKEN,), **OPEN)).result()
    assert '{"q": ' not in str(fake.requests[-1].body["messages"])


@both
def test_the_shape_is_asked_for_in_words_while_tools_may_be_called(
    ask: Ask, fake: FakeModelServer, provider: str
) -> None:
    client.submit(ask("fake-tools-1", provider, **OPEN)).result()
    sent = fake.requests[-1].body
    assert "response_format" not in sent
    assert "output_config" not in sent
    assert "JSON Schema" in str(sent)


@both
def test_a_server_that_refuses_tools_is_remembered(ask: Ask, fake: FakeModelServer, provider: str) -> None:
    fake.set_rules({"unsupported": ["tools"]})
    request = ask(f"fake-toolless-{provider}", provider, **OPEN)
    assert client.takes_tools(request.endpoint)
    with pytest.raises(ToolsRefused) as error:
        client.submit(request).result()
    assert error.value.usage == Usage(0, 0)
    assert not client.takes_tools(request.endpoint)


def test_a_server_that_complains_with_a_500_too(ask: Ask, fake: FakeModelServer) -> None:
    fake.set_rules({"status": 500, "message": "tools param requires --jinja flag"})
    with pytest.raises(ToolsRefused):
        client.submit(ask("fake-jinja", **OPEN)).result()


def test_a_server_that_only_lacks_tool_choice_is_asked_without_it(ask: Ask, fake: FakeModelServer) -> None:
    fake.set_rules({"unsupported": ["tool_choice"]})
    request = ask("fake-choiceless", exchange=(DONE,), **(OPEN | {"may_call": False}))
    assert client.submit(request).result().text.startswith('{"answer"')
    assert client.takes_tools(request.endpoint)
    assert [one.status for one in fake.requests] == [400, 200]


def test_a_schema_that_is_refused_beside_tools_is_kept_for_other_calls(ask: Ask, fake: FakeModelServer) -> None:
    fake.set_rules({"status": 400, "message": "json_schema cannot be used with tools", "times": 1})
    client.submit(ask("fake-apart", exchange=(DONE,), **(OPEN | {"may_call": False}))).result()
    client.submit(ask("fake-apart", json_schema=OPEN["json_schema"])).result()
    assert fake.requests[-1].body["response_format"]["type"] == "json_schema"


def test_a_call_that_was_cut_off_is_too_long(ask: Ask, fake: FakeModelServer) -> None:
    fake.set_rules({"length": True})
    with pytest.raises(TooLong):
        client.submit(ask("fake-tools-1", user=QUESTION, **OPEN)).result()


def test_arguments_without_end_are_cut_off(ask: Ask, fake: FakeModelServer) -> None:
    endless = {"name": "search_packs", "arguments": "x" * 100_000}
    fake.set_rules({"call": endless})
    with pytest.raises(TooLong):
        client.submit(ask("fake-tools-1", max_tokens=8, **OPEN)).result()


def test_a_server_that_does_not_stream_sends_calls_whole(ask: Ask) -> None:
    from council.llm.openai_compat import _read_choice
    from council.llm.progress import Progress

    progress = Progress(ask(**OPEN), None)
    calls = [{"function": {"name": name, "arguments": '{"query": "a"}'}} for name in ("first", "second")]
    _read_choice(cast("dict[str, Any]", {"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}), progress)
    assert [(call.id, call.name) for call in progress.reply().calls] == [("call_0", "first"), ("call_1", "second")]


def test_nothing_at_all_is_still_an_empty_reply(ask: Ask) -> None:
    with pytest.raises(EmptyReply):
        client.submit(ask("fake-empty", **OPEN)).result()


def test_tools_and_history_count_as_prompt(ask: Ask) -> None:
    bare, full = ask(), ask(exchange=(DONE,), **OPEN)
    assert full.prompt_chars > bare.prompt_chars + len("Nothing was found.")
