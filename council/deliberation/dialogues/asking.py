"""What both styles share: ask, and ask once more when the reply cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TypeVar

from council.deliberation import prompts
from council.deliberation.parsing import ReplyError
from council.deliberation.tools import Search, ToolCalls
from council.deliberation.types import Evidence, Prompt

T = TypeVar("T")
Asked = Prompt | Search  # what a dialogue yields
Sent = (
    str | ToolCalls | tuple[Evidence, ...]
)  # what it is sent: a reply (text, or calls of tools), or what a search found


def ask(prompt: Prompt, parse: Callable[[str], T]) -> Generator[Prompt, Sent, T]:
    """Yield ``prompt``, parse the reply; on a bad one yield it again with the complaint. The second ReplyError is final."""
    try:
        return parse(text_of((yield prompt)))
    except ReplyError as error:
        complaint = error.detail
    return parse(text_of((yield prompts.again(prompt, complaint))))


def text_of(sent: Sent) -> str:
    """A reply where only text was asked for."""
    if isinstance(sent, ToolCalls):
        raise ReplyError("tool_misuse", "the reply calls a tool, and none is offered")
    if not isinstance(sent, str):
        raise TypeError("passages were sent where a model's reply was asked for")
    return sent


def object_schema(properties: Mapping[str, object]) -> dict[str, object]:
    """A JSON Schema object with exactly these properties, all required, in this order: what OpenAI's strict mode accepts and
    what llama.cpp writes in order. No ``maxLength`` anywhere: it makes llama.cpp's grammar crawl."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
