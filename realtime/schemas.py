"""What the live protocol says, as types: the frames, and for each kind of stream its snapshot and its events.

The apps declare their streams beside what writes them (``council.event_types``, ``knowledge.event_types``); ``config.live`` lists
them. The table in ``docs/events.md``, the AsyncAPI document and the tests' check of everything that was ever appended are made from
these declarations, so none of the three can fall behind the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

Time = AwareDatetime  # RFC 3339
Json = dict[str, Any]
Seq = Annotated[int, Field(ge=0)]


class Shape(BaseModel):
    """Base of everything that is described: JSON's own types and no field that is not named."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def absent(description: str | None = None) -> Any:
    """The default of a field that may be left out, which is not the same as null."""
    return Field(default_factory=lambda: None, description=description)


class Actor(Shape):
    """Who brought a change about; null where a worker did."""

    id: UUID
    name: str | None


# --- Streams ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventType:
    name: str
    data: type[Shape]
    when: str


@dataclass(frozen=True)
class StreamSchema:
    """One kind of stream. ``name`` is the part of its addresses that says what it is; ``path`` its WebSocket's address."""

    name: str
    path: str
    title: str
    snapshot: type[Shape]
    events: tuple[EventType, ...]

    @cached_property
    def by_name(self) -> Mapping[str, EventType]:
        return {one.name: one for one in self.events}

    def event_faults(self, name: str, data: Mapping[str, Any]) -> list[str]:
        """What is wrong with an event's ``data``, one line for each fault; [] when it is as described."""
        known = self.by_name.get(name)
        return _faults(name, known.data, data) if known else [f"{name}: no such event is described"]

    def snapshot_faults(self, state: Mapping[str, Any]) -> list[str]:
        return _faults("snapshot", self.snapshot, state)


def _faults(name: str, shape: type[Shape], value: Mapping[str, Any]) -> list[str]:
    """Checked as the JSON that goes out, so that what becomes text on the way (ids, times) is judged as text."""
    try:
        shape.model_validate_json(json.dumps(value, cls=DjangoJSONEncoder), strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        return [f"{name} {'.'.join(map(str, one['loc']))}: {one['msg']}, not {one['input']!r:.80}" for one in found]
    return []


# --- Frames -----------------------------------------------------------------------------------------------------------


class Hello(Shape):
    """The first frame of every connection, within 10 seconds."""

    t: Literal["hello"]
    v: Literal[1]
    last_seq: Seq | None = absent("the last event that the client knows; null or left out by a newcomer")
    ticket: str = absent("for pages of other origins: good for 30 seconds and once")


class Ping(Shape):
    """Asks for a pong."""

    t: Literal["ping"]


class Replay(Shape):
    """The client is at most 300 events behind: what it missed follows as events."""

    t: Literal["welcome"]
    head_seq: Seq
    mode: Literal["replay"]


class Delta(Shape):
    """A model is writing. The live text of the attempt is now ``old[:from] + text``."""

    t: Literal["delta"]
    turn: UUID
    attempt: int
    from_: int = Field(alias="from", description="in Unicode code points")
    text: str


class Presence(Shape):
    """How many different users watch the stream, when that has changed."""

    t: Literal["presence"]
    watching: int


class Heartbeat(Shape):
    """Every 20 seconds: a lost tail shows."""

    t: Literal["heartbeat"]
    head_seq: Seq


class Pong(Shape):
    """The answer to a ping."""

    t: Literal["pong"]


class Closing(Shape):
    """The last message of a Server-Sent Events stream, with a code of the table of close codes."""

    t: Literal["close"]
    code: int


CLIENT_FRAMES: tuple[type[Shape], ...] = (Hello, Ping)
SERVER_FRAMES: tuple[type[Shape], ...] = (Replay, Delta, Presence, Heartbeat, Pong)
