"""What both styles share: ask, and ask once more when the reply cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TypeVar

from council.deliberation import prompts
from council.deliberation.parsing import ReplyError
from council.deliberation.types import Prompt

T = TypeVar("T")


def ask(prompt: Prompt, parse: Callable[[str], T]) -> Generator[Prompt, str, T]:
    """Yield ``prompt``, parse the reply; on a bad one yield it again with the complaint. The second ReplyError is final."""
    try:
        return parse((yield prompt))
    except ReplyError as error:
        complaint = error.detail
    return parse((yield prompts.again(prompt, complaint)))


def object_schema(properties: Mapping[str, object]) -> dict[str, object]:
    """A JSON Schema object with exactly these properties, all required, in this order: what OpenAI's strict mode accepts and
    what llama.cpp writes in order. No ``maxLength`` anywhere: it makes llama.cpp's grammar crawl."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
