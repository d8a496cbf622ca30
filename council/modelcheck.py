"""Is a model there, and can it do what a council needs? A few short calls, outside of any session: neither recorded nor budgeted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from council.deliberation.dialogues.asking import object_schema
from council.endpoints import Model
from council.llm import client, loop
from council.llm.capability import style_for
from council.llm.errors import LlmError
from council.llm.types import ChatRequest, Reply

TIMEOUT_S = 60.0
_SYSTEM = "You answer briefly and exactly."
_LONG = "Count from 1 to 40, one number after the other, separated by spaces."
_FIELDS = object_schema({"colour": {"type": "string", "enum": ["red", "green"]}, "sure": {"type": "boolean"}})


class Check(NamedTuple):
    name: str
    passed: bool
    detail: str


def check(model: Model) -> Iterator[Check]:
    """One result after the other; nothing after a failed "reachable", for the rest would say the same."""
    pieces: list[str] = []
    reply, fault = _ask(model, _LONG, on_text=pieces.append)
    if reply is None:
        yield Check("reachable", False, fault)
        return
    yield Check(
        "reachable", True, f"{model.endpoint.base_url} answers as {reply.model}, turns are asked {_style(model)}"
    )
    yield Check("streams", len(pieces) > 1, f"{len(pieces)} pieces, the first after {reply.ttft_ms:.0f} ms")
    yield _schema(model)
    usage = reply.usage
    counted = f"{usage.prompt_tokens} tokens in, {usage.completion_tokens} out"
    yield Check(
        "usage", not usage.estimated, "the server reports none; estimates are charged" if usage.estimated else counted
    )
    seconds = (reply.latency_ms - reply.ttft_ms) / 1000
    speed = f"{usage.completion_tokens / seconds:.0f} tokens a second" if seconds > 0 else "all at once"
    yield Check("speed", True, f"{speed}, {reply.latency_ms:.0f} ms in all")


def _style(model: Model) -> str:
    return style_for(model.endpoint)


def _schema(model: Model) -> Check:
    reply, fault = _ask(model, "Which colour has grass? Are you sure?", schema=_FIELDS)
    if reply is None:
        return Check("schema", False, fault)
    enforced = loop.runtime().dialect(model.endpoint).schema
    how = "asked for in words" if enforced == "none" else f"enforced as {enforced}"
    try:
        given = json.loads(reply.text)
    except ValueError:
        return Check("schema", False, f"{how}, but the reply is no JSON: {reply.text[:60]!r}")
    fits = isinstance(given, dict) and given.get("colour") in {"red", "green"} and isinstance(given.get("sure"), bool)
    return Check("schema", fits, how if fits else f"{how}, but the reply does not fit: {reply.text[:60]!r}")


def _ask(
    model: Model, user: str, *, schema: dict[str, object] | None = None, on_text: Callable[[str], None] | None = None
) -> tuple[Reply | None, str]:
    """The reply, or None and what went wrong."""
    seconds = TIMEOUT_S if model.timeout_s is None else model.timeout_s
    request = ChatRequest(model.endpoint, _SYSTEM, user, schema, max_tokens=300, temperature=0.0, timeout_s=seconds)
    try:
        return client.submit(request, on_text).result(), ""
    except LlmError as error:
        return None, str(error)
