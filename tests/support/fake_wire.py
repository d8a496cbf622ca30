"""The bytes of the two streaming APIs, prepared once per reply: the fake serves benches on the same two cores."""

from __future__ import annotations

import json
import math
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from tests.support.fake_rules import Behaviour

TOKEN_CHARS = 5


def tokens(text: str) -> list[str]:
    return [text[i : i + TOKEN_CHARS] for i in range(0, len(text), TOKEN_CHARS)]


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _event(value: Any, name: str = "") -> bytes:
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + _dump(value) + b"\n\n"


@dataclass(frozen=True)
class Ask:
    """What a request says, whichever API it came by."""

    model: str
    system: str
    user: str
    stream: bool
    schema: dict[str, Any] | None
    max_tokens: int
    seed: int | None
    body: dict[str, Any]
    tools: bool = False  # it was offered some
    may_call: bool = False
    called: int = 0  # results of calls in the conversation so far

    @property
    def prompt(self) -> str:
        return f"{self.system}\n{self.user}"


@dataclass(frozen=True)
class Call:
    """A tool call of the model's; ``arguments`` goes out in pieces, as real servers send it."""

    id: str
    name: str
    arguments: str


class Wire(ABC):
    def __init__(self, ask: Ask, behaviour: Behaviour) -> None:
        self.ask = ask
        self.behaviour = behaviour
        self.calling = False

    @property
    def finish(self) -> str:
        if self.calling and not self.behaviour.length:
            return "tool_calls"
        return "content_filter" if self.behaviour.refusal else "length" if self.behaviour.length else "stop"

    def usage(self, completion: int) -> tuple[int, int]:
        return math.ceil(len(self.ask.prompt) / TOKEN_CHARS), completion

    @abstractmethod
    def start(self) -> bytes: ...

    @abstractmethod
    def token(self, piece: str) -> bytes: ...

    @abstractmethod
    def call(self, call: Call) -> bytes: ...

    @abstractmethod
    def end(self, completion: int) -> bytes: ...

    @abstractmethod
    def whole(self, text: str, completion: int) -> bytes: ...

    @abstractmethod
    def error(self, status: int, message: str, code: str | None) -> bytes: ...


class OpenAIWire(Wire):
    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-fake", "object": kind, "created": 0, "model": self.ask.model}

    def _usage(self, completion: int) -> dict[str, int]:
        prompt, out = self.usage(completion)
        return {"prompt_tokens": prompt, "completion_tokens": out, "total_tokens": prompt + out}

    def start(self) -> bytes:
        head, tail = _event(self._chunk({"content": "\x00"})).split(_dump("\x00"))
        self._head_bytes, self._tail_bytes = head, tail
        return _event(self._chunk({"role": "assistant", "content": ""}))

    def token(self, piece: str) -> bytes:
        return self._head_bytes + _dump(piece) + self._tail_bytes

    def call(self, call: Call) -> bytes:
        self.calling = True
        head = {"index": 0, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        rest = [{"index": 0, "function": {"arguments": piece}} for piece in tokens(call.arguments)]
        return b"".join(_event(self._chunk({"tool_calls": [part]})) for part in [head, *rest])

    def end(self, completion: int) -> bytes:
        out = _event(self._chunk({}, self.finish))
        options = self.ask.body.get("stream_options") or {}
        if options.get("include_usage") and self.behaviour.usage:
            out += _event({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage(completion)})
        return out + b"data: [DONE]\n\n"

    def whole(self, text: str, completion: int) -> bytes:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        return _dump({**self._head("chat.completion"), "choices": [choice], "usage": self._usage(completion)})

    def error(self, status: int, message: str, code: str | None) -> bytes:
        return _dump({"error": {"message": message, "type": "fake_error", "code": code or status}})


class AnthropicWire(Wire):
    _ERRORS = {
        400: "invalid_request_error",
        401: "authentication_error",
        429: "rate_limit_error",
        529: "overloaded_error",
    }
    _FINISH = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"}

    def _message(self, content: list[dict[str, Any]], completion: int, reason: str | None) -> dict[str, Any]:
        return {
            "id": "msg_fake", "type": "message", "role": "assistant", "model": self.ask.model, "content": content,
            "stop_reason": reason, "stop_sequence": None, "usage": self._usage(completion),
        }  # fmt: skip

    def _usage(self, completion: int) -> dict[str, int]:
        prompt, out = self.usage(completion)
        return {"input_tokens": prompt, "output_tokens": out}

    def start(self) -> bytes:
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        message = {"type": "message_start", "message": self._message([], 1, None)}
        return _event(message, "message_start") + _event(block, "content_block_start")

    def token(self, piece: str) -> bytes:
        delta = {"type": "text_delta", "text": piece}
        return _event({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")

    def call(self, call: Call) -> bytes:
        self.calling = True
        block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        start = {"type": "content_block_start", "index": 1, "content_block": block}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in tokens(call.arguments)]
        parts = [{"type": "content_block_delta", "index": 1, "delta": delta} for delta in deltas]
        stop = {"type": "content_block_stop", "index": 1}
        return b"".join(_event(part, str(part["type"])) for part in [start, *parts, stop])

    def end(self, completion: int) -> bytes:
        delta = {"stop_reason": self._FINISH[self.finish], "stop_sequence": None}
        return (
            _event({"type": "content_block_stop", "index": 0}, "content_block_stop")
            + _event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": completion}}, "message_delta")
            + _event({"type": "message_stop"}, "message_stop")
        )

    def whole(self, text: str, completion: int) -> bytes:
        return _dump(self._message([{"type": "text", "text": text}], completion, self._FINISH[self.finish]))

    def error(self, status: int, message: str, code: str | None) -> bytes:
        kind = code or self._ERRORS.get(status, "api_error")
        return _dump({"type": "error", "error": {"type": kind, "message": message}})


# --- embeddings -----------------------------------------------------------------------------------------------------


def embed(text: str, dimensions: int) -> list[float]:
    """A unit vector of hashed words (feature hashing, Weinberger et al. 2009): texts that share words are near each
    other.
    """
    vector = [0.0] * dimensions
    for word in text.lower().split() or [""]:
        digest = blake2b(word.encode(), digest_size=32).digest()
        for i in range(0, 32, 4):
            place = int.from_bytes(digest[i : i + 4])
            vector[(place >> 1) % dimensions] += 1.0 if place & 1 else -1.0
    norm = math.sqrt(sum(x * x for x in vector)) or 1.0
    return [x / norm for x in vector] if any(vector) else [1.0] + [0.0] * (dimensions - 1)


def packed(vector: list[float]) -> bytes:
    return struct.pack(f"<{len(vector)}f", *vector)
