"""Values of the model adapter. Times are in seconds where a caller sets them, in milliseconds where we measured them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self

from council.deliberation.tools import Exchange, Tool, ToolCall, transcript
from council.deliberation.types import Prompt

ProviderName = Literal["openai", "anthropic"]
Style = Literal["auto", "structured", "guided"]
SchemaSupport = Literal["json_schema", "json_object", "none"]

CHARS_PER_TOKEN = 4  # the usual rule of thumb for English with BPE vocabularies; estimates are flagged as such


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model lives and what it can do. ``base_url`` as the SDKs take it: with ``/v1`` for openai, without for
    anthropic.

    ``style`` is how turns are asked (``capability.style_for``); ``schema`` is the best form of constrained output
    that the server knows; if the server refuses it, a weaker one is used and remembered for the life of the process.

    ``allows`` says of an address (as text) whether it may be connected to; None, for endpoints that the server's own settings
    name, allows all. One function for many endpoints: they share its connections.
    """

    base_url: str
    model: str
    provider: ProviderName = "openai"
    api_key: str = field(default="", repr=False)  # never in a log or traceback
    style: Style = "auto"
    schema: SchemaSupport = "json_schema"
    allows: Callable[[str], bool] | None = field(default=None, repr=False, compare=False)


class Gate(Protocol):
    """What a call must pass before it is made. Both methods may block, and are called from threads of an executor."""

    @property
    def patience_s(self) -> float:
        """How long a call may wait before it ends as ``Limited``."""

    def enter(self) -> float:
        """Take a place: 0, or after how many seconds it is worth asking again."""

    def leave(self, usage: Usage) -> None:
        """Give the place back; called once after an ``enter`` that answered 0."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One logical call. ``timeout_s`` is the whole of it: connecting, waiting, streaming, degraded second tries
    included. ``tools``, ``may_call``, ``exchange`` and ``remark`` as in ``Prompt``.
    """

    endpoint: Endpoint
    system: str
    user: str
    json_schema: dict[str, object] | None = None
    max_tokens: int = 512
    temperature: float = 0.7
    seed: int | None = None
    timeout_s: float = 120.0
    tools: tuple[Tool, ...] = ()
    may_call: bool = False
    exchange: tuple[Exchange, ...] = ()
    remark: str = ""

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not self.timeout_s > 0:
            raise ValueError("max_tokens and timeout_s must be positive")

    @classmethod
    def of(cls, prompt: Prompt, endpoint: Endpoint, *, seed: int | None = None, timeout_s: float = 120.0) -> Self:
        return cls(
            endpoint=endpoint,
            system=prompt.system,
            user=prompt.user,
            json_schema=prompt.json_schema,
            max_tokens=prompt.max_tokens,
            temperature=prompt.temperature,
            seed=seed,
            timeout_s=timeout_s,
            tools=prompt.tools,
            may_call=prompt.may_call,
            exchange=prompt.exchange,
            remark=prompt.remark,
        )

    @property
    def open_to_calls(self) -> bool:
        return bool(self.tools) and self.may_call

    @property
    def prompt_chars(self) -> int:
        return len(self.system) + len(self.user) + len(transcript(self.exchange, self.remark)) + tools_chars(self.tools)


def tools_chars(tools: tuple[Tool, ...]) -> int:
    """What the description of tools adds to a prompt."""
    return sum(len(tool.name) + len(tool.description) + len(json.dumps(tool.parameters)) for tool in tools)


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    estimated: bool = False
    cached_tokens: int = 0  # of the prompt's, read from the provider's cache; only where the server says so

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @classmethod
    def estimate(cls, prompt_chars: int, completion_chars: int) -> Self:
        prompt, completion = (math.ceil(n / CHARS_PER_TOKEN) for n in (prompt_chars, completion_chars))
        return cls(prompt, completion, estimated=True)


@dataclass(frozen=True, slots=True)
class Reply:
    """``finish_reason`` in OpenAI's words for every provider: "stop", "length", … ; ``model`` as the server named
    itself.

    ``ttft_ms`` is the time to the first text, ``latency_ms`` to the last, both from when the call reached the loop
    thread.
    """

    text: str
    usage: Usage
    finish_reason: str
    model: str
    ttft_ms: float
    latency_ms: float
    calls: tuple[ToolCall, ...] = ()  # of tools; then ``text`` is what was said beside them, often nothing
