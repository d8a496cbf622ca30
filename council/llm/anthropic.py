"""Claude, through Anthropic's Messages API.

Version 2026-10-21 of that API, which SDK 2 sends, refuses ``temperature`` even at its default and has no seed:
neither is sent. Structured output takes closed objects only and no numeric bounds; a schema that it refuses goes into
the prompt instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
from anthropic.resources.messages import AsyncMessages  # here, or the first call would wait for it

from council.llm.base import Provider
from council.llm.dialect import Dialect, schema_sent, system_text
from council.llm.errors import LlmError, code_of, from_status
from council.llm.progress import Progress
from council.llm.types import ChatRequest, SchemaSupport

_FINISH = {
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
# The HTTP status that each error type has when it comes before the stream; in the stream only the type is sent.
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class Anthropic(Provider):
    status_error = anthropic.APIStatusError
    connection_error = anthropic.APIConnectionError

    def __init__(self, base_url: str, api_key: str, http: httpx2.AsyncClient) -> None:
        client = anthropic.AsyncAnthropic(
            base_url=base_url.rstrip("/").removesuffix("/v1"),  # the SDK adds /v1 itself, people paste it
            api_key=api_key or "unused",
            max_retries=0,
            http_client=http,
        )
        self._create = AsyncMessages(client).with_streaming_response.create

    @asynccontextmanager
    async def open(self, request: ChatRequest, dialect: Dialect) -> AsyncIterator[httpx2.Response]:
        async with self._create(**body(request, dialect)) as response:
            yield response.http_response

    def read(self, event: dict[str, Any], progress: Progress) -> None:
        match event["type"]:
            case "content_block_start":
                block = event["content_block"]
                if block["type"] == "tool_use":
                    progress.add_call(event["index"], block["id"], block["name"], "")
            case "content_block_delta":
                if event["delta"]["type"] == "text_delta":
                    progress.add(event["delta"]["text"])
                elif event["delta"]["type"] == "input_json_delta":
                    progress.add_call(event["index"], "", "", event["delta"]["partial_json"])
            case "message_start":
                progress.model = event["message"]["model"]
                _read_prompt_tokens(event["message"]["usage"], progress)
            case "message_delta":
                reason = event["delta"]["stop_reason"]
                progress.finish_reason = _FINISH.get(reason, reason or "")
                _read_prompt_tokens(event["usage"], progress)
                progress.completion_tokens = event["usage"]["output_tokens"]
            case "message_stop":
                progress.done = True
            case "error":
                raise _error(event)


def _read_prompt_tokens(usage: dict[str, Any], progress: Progress) -> None:
    """Counts are cumulative. Input tokens from the cache are counted apart, though they are charged too."""
    parts = [usage.get(key) for key in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")]
    if parts[0] is not None:
        progress.prompt_tokens = sum(part or 0 for part in parts)
        progress.cached_tokens = parts[2] or 0


def _error(event: dict[str, Any]) -> LlmError:
    return from_status(_STATUS.get(code_of(event), 500), event)


def body(request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
    # There is no json_object here: what the API does not enforce is asked for in words.
    schema: SchemaSupport = "json_schema" if schema_sent(request, dialect) == "json_schema" else "none"
    out: dict[str, Any] = {
        "model": request.endpoint.model,
        "messages": [{"role": "user", "content": request.user}, *_since(request)],
        "max_tokens": request.max_tokens,
        "stream": True,
    }
    if system := system_text(request, schema):
        out["system"] = system
    if request.json_schema is not None and schema == "json_schema":
        out["output_config"] = {"format": {"type": "json_schema", "schema": request.json_schema}}
    if request.tools:
        out["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in request.tools
        ]
        if not request.may_call and dialect.tool_choice:
            out["tool_choice"] = {"type": "none"}
    return out


def _since(request: ChatRequest) -> Iterator[dict[str, Any]]:
    """What was called and came back since the first prompt. Results, and what the user says after them, are one message."""
    last = len(request.exchange) - 1
    for place, one in enumerate(request.exchange):
        said = [{"type": "text", "text": one.said.text}] if one.said.text.strip() else []
        calls = [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.echo} for call in one.said.calls]
        yield {"role": "assistant", "content": [*said, *calls]}
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": result}
            for call, result in zip(one.said.calls, one.results, strict=True)
        ]
        remark = [{"type": "text", "text": request.remark}] if request.remark and place == last else []
        yield {"role": "user", "content": [*results, *remark]}
