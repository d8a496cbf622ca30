"""Every server that speaks OpenAI's chat completions: OpenAI, Ollama, vLLM, llama.cpp, LM Studio, gateways."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
from openai.resources.chat.completions import AsyncCompletions  # here, or the first call would wait for it

from council.llm.base import Provider
from council.llm.dialect import Dialect, is_strict, schema_sent, system_text
from council.llm.errors import Refused, ServerError, code_of, from_status, message_of
from council.llm.progress import Progress
from council.llm.types import ChatRequest, SchemaSupport

_ERROR_STATUS = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "content_filter": 400,
    "invalid_request_error": 400,
}


class OpenAICompatible(Provider):
    status_error = openai.APIStatusError
    connection_error = openai.APIConnectionError

    def __init__(self, base_url: str, api_key: str, http: httpx2.AsyncClient) -> None:
        client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "unused",  # local servers want none, the SDK insists on some
            max_retries=0,  # retries are the caller's, with the turn's deadline in view
            http_client=http,
        )
        self._create = AsyncCompletions(client).with_streaming_response.create

    @asynccontextmanager
    async def open(self, request: ChatRequest, dialect: Dialect) -> AsyncIterator[httpx2.Response]:
        # ``extra_body`` goes out as it is; as arguments, the SDK would check and copy every value (0.3 ms of CPU)
        extra = body(request, dialect)
        async with self._create(model=extra["model"], messages=(), stream=True, extra_body=extra) as response:
            yield response.http_response

    def read(self, event: dict[str, Any], progress: Progress) -> None:
        if event.get("error"):
            raise _error(event)
        usage = event.get("usage")
        if usage:
            progress.prompt_tokens = usage.get("prompt_tokens")
            progress.completion_tokens = usage.get("completion_tokens")
            progress.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        choices = event.get("choices")
        if choices:  # the usage chunk has none
            _read_choice(choices[0], progress)
        if "model" in event and progress.events == 1:
            progress.model = event["model"] or progress.model


def _read_choice(choice: dict[str, Any], progress: Progress) -> None:
    message = choice.get("delta") or choice.get("message") or {}  # "message" where the server did not stream
    if message.get("refusal"):
        raise Refused(message["refusal"])
    content = message.get("content")
    if content:
        progress.add(content)
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        given = function.get("arguments") or ""
        arguments = given if isinstance(given, str) else json.dumps(given)  # Ollama sends an object
        progress.add_call(call.get("index"), call.get("id") or "", function.get("name") or "", arguments)
    if choice.get("finish_reason"):
        progress.finish_reason = choice["finish_reason"]


def _error(event: dict[str, Any]) -> Exception:
    """An error in mid-stream, after a 200: gateways put the upstream's status or its code there."""
    code = code_of(event)
    status = int(code) if len(code) == 3 and code.isdecimal() else _ERROR_STATUS.get(code)
    return from_status(status, event) if status and status >= 400 else ServerError(message_of(event))


def body(request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
    schema = schema_sent(request, dialect)
    system = system_text(request, schema)
    messages = [{"role": "system", "content": system}] if system else []
    out: dict[str, Any] = {
        "model": request.endpoint.model,
        "messages": [*messages, {"role": "user", "content": request.user}, *_since(request)],
        "stream": True,
        "max_completion_tokens" if dialect.completion_tokens else "max_tokens": request.max_tokens,
    }
    if dialect.stream_usage:
        out["stream_options"] = {"include_usage": True}
    if dialect.temperature:
        out["temperature"] = request.temperature
    if dialect.seed and request.seed is not None:
        out["seed"] = request.seed
    if request.json_schema is not None and schema != "none":
        out["response_format"] = _response_format(request.json_schema, schema)
    if request.tools:
        out["tools"] = [{"type": "function", "function": tool.model_dump()} for tool in request.tools]
        if not request.may_call and dialect.tool_choice:
            out["tool_choice"] = "none"
    return out


def _since(request: ChatRequest) -> Iterator[dict[str, Any]]:
    """What was called and came back since the first prompt."""
    for one in request.exchange:
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.echo)}}
            for call in one.said.calls
        ]
        yield {"role": "assistant", "content": one.said.text or None, "tool_calls": calls}
        for call, result in zip(one.said.calls, one.results, strict=True):
            yield {"role": "tool", "tool_call_id": call.id, "content": result}
    if request.remark:
        yield {"role": "user", "content": request.remark}


def _response_format(schema: dict[str, object], support: SchemaSupport) -> dict[str, object]:
    if support == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": is_strict(schema)}}
