"""Tools that a model may call in the middle of a turn. There is one, ``search_packs``, and it only reads.

A model's call is its own words until ``dialogues.searching`` has read them as a :class:`Search`; whoever drives the dialogue makes
the search, puts what it found on the turn's :class:`~council.deliberation.shelf.Shelf` and hands it back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from council.deliberation.values import Frozen

SEARCH_PACKS = "search_packs"
MOST_K = 10  # passages of one search


class Tool(Frozen):
    """What is offered to a model. ``parameters``: JSON Schema of the arguments, an object."""

    name: str
    description: str
    parameters: dict[str, object]


class ToolCall(Frozen):
    """One call as the model wrote it; ``arguments`` may be anything, JSON or not."""

    id: str
    name: str
    arguments: str

    @property
    def given(self) -> dict[str, Any] | None:
        """The arguments, None when they are no JSON object."""
        try:
            value = json.loads(self.arguments or "{}", parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    @property
    def echo(self) -> dict[str, Any]:
        """The arguments as they are sent back to the model: servers refuse a history whose arguments are no object or no Unicode."""
        plain = json.dumps(self.given or {}, ensure_ascii=False).encode(errors="replace").decode()
        loaded: dict[str, Any] = json.loads(plain)
        return loaded


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


class ToolCalls(Frozen):
    """A reply that calls tools; ``text`` is what the model said beside it."""

    calls: tuple[ToolCall, ...]
    text: str = ""


class Exchange(Frozen):
    """A reply that called tools, and the result of each of its calls, in their order."""

    said: ToolCalls
    results: tuple[str, ...]


class Pack(Frozen):
    """A pack that a turn may search. Seats see its number in their list, and its name as quoted material."""

    id: str
    name: str


class Search(Frozen):
    """What a dialogue asks its driver to look for; ``pack`` is an id of ``TurnContext.packs``, None all of them."""

    query: str
    k: int
    pack: str | None = None


class Found(Frozen):
    """One passage that a search found, by its number in the turn's evidence."""

    n: int
    entry: str
    revision: str


class SearchMade(Search):
    """A search and what came of it, for the record."""

    found: tuple[Found, ...] = ()


def transcript(exchange: Sequence[Exchange], remark: str) -> str:
    """What followed the first prompt, as one text for the record."""
    parts = []
    for one in exchange:
        parts += [_calls(one.said), *(f"[tool result]\n{result}" for result in one.results)]
    parts += [f"[user]\n{remark}"] if remark else []
    return "".join(f"\n\n{part}" for part in parts)


def _calls(said: ToolCalls) -> str:
    return f"[assistant]\n{written(said)}"


def written(said: ToolCalls) -> str:
    """A reply that calls tools, as text for the record."""
    lines = [f"{call.name}({call.arguments})" for call in said.calls]
    return "\n".join([said.text.strip(), *lines] if said.text.strip() else lines)
