"""Which optional parts of the API a server turned out to know.

"OpenAI-compatible" is a family of dialects: some servers refuse ``response_format``, newer OpenAI models refuse
``max_tokens`` and ``temperature``. Rather than keep a table of servers, we believe their 400: it names the parameter,
we leave that parameter out, and remember it for that endpoint and model for the life of the process.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from council.llm.types import ChatRequest, Endpoint, SchemaSupport

_WEAKER: dict[SchemaSupport, SchemaSupport] = {"json_schema": "json_object", "json_object": "none"}
_SCHEMA_WORDS = ("response_format", "json_schema", "json_object", "output_config", "grammar", "structured output")
_TOOL_WORDS = re.compile(r"\btools?\b|tool_choice|\bfunction[ _]call")


@dataclass(frozen=True, slots=True)
class Dialect:
    schema: SchemaSupport
    completion_tokens: bool = False  # max_completion_tokens instead of max_tokens
    temperature: bool = True
    seed: bool = True
    stream_usage: bool = True
    tools: bool = True  # False: it refused them, and is not offered any again
    tool_choice: bool = True

    @classmethod
    def of(cls, endpoint: Endpoint) -> Dialect:
        return cls(schema=endpoint.schema)

    def without(self, complaint: str) -> Dialect | None:
        """The dialect that avoids what the server complained of; None when the complaint is about something else.

        Each step drops something, so a loop over it ends.
        """
        text = complaint.lower()
        if self.schema in _WEAKER and any(word in text for word in _SCHEMA_WORDS):
            return replace(self, schema=_WEAKER[self.schema])
        if self.tool_choice and "tool_choice" in text:
            return replace(self, tool_choice=False)
        if not self.completion_tokens and "max_completion_tokens" in text:
            return replace(self, completion_tokens=True)
        if self.stream_usage and ("stream_options" in text or "include_usage" in text):
            return replace(self, stream_usage=False)
        if self.temperature and "temperature" in text:
            return replace(self, temperature=False)
        return replace(self, seed=False) if self.seed and "seed" in text else None


def worth_remembering(complaint: str) -> bool:
    """A server that dislikes one schema may like the next, or all of them but beside tools; only a missing feature is a property
    of the server.
    """
    text = complaint.lower()
    return "invalid schema" not in text and not (refuses_tools(text) and any(word in text for word in _SCHEMA_WORDS))


def refuses_tools(complaint: str) -> bool:
    """Ollama: "… does not support tools"; vLLM: "\"auto\" tool choice requires …"; llama.cpp: "tools param requires --jinja"."""
    return _TOOL_WORDS.search(complaint.lower()) is not None


def schema_sent(request: ChatRequest, dialect: Dialect) -> SchemaSupport:
    """How the reply's shape is asked for. While tools may be called it is asked for in words: a server that constrains output to the
    schema (vLLM) cannot let the model call anything, and others refuse the two together.
    """
    return "none" if request.open_to_calls else dialect.schema


def system_text(request: ChatRequest, schema: SchemaSupport) -> str:
    """The system prompt, with the schema in words where the server cannot enforce it."""
    if request.json_schema is None or schema == "json_schema":
        return request.system
    what = "Your answer, when you give it, is" if request.open_to_calls else "Reply with"
    rule = f"{what} one JSON object and nothing else. It must satisfy this JSON Schema:"
    return f"{request.system}\n\n{rule}\n{json.dumps(request.json_schema, ensure_ascii=False)}".lstrip()


def is_strict(schema: object) -> bool:
    """Whether OpenAI's ``strict`` mode takes this schema: every object is closed and requires all of its properties."""
    if isinstance(schema, list):
        return all(is_strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("required", ())) != set(schema.get("properties", ())):
            return False
    return all(is_strict(value) for value in schema.values())
