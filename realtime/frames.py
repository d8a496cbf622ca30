"""Frames of the live protocol, encoded once and shared by all sockets, and the codes that sockets are closed with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from realtime.sources import LoggedEvent
from realtime.times import rfc3339


class Close(IntEnum):
    RESTART = 1012
    BAD_FRAME = 4400
    SIGNED_OUT = 4401
    FORBIDDEN = 4403
    UNKNOWN = 4404
    NO_HELLO = 4408
    TOO_SLOW = 4409
    TOO_MANY = 4429


@dataclass(frozen=True, slots=True)
class Frame:
    """``seq`` is set on events and snapshots only: it is where a reader stands who has seen the frame. ``size`` is in bytes."""

    text: str
    seq: int | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.text.encode()))

    @property
    def sse(self) -> bytes:
        """As one message of a ``text/event-stream``. JSON text holds no raw line breaks, so one ``data`` line is enough."""
        mark = "" if self.seq is None else f"id: {self.seq}\n"
        return f"{mark}data: {self.text}\n\n".encode()


def encode(message: Mapping[str, Any]) -> str:
    return json.dumps(message, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":"))


def event_body(event: LoggedEvent) -> dict[str, Any]:
    return {"seq": event.seq, "type": event.type, "at": rfc3339(event.at), "data": event.data}


def event(logged: LoggedEvent) -> Frame:
    return Frame(encode({"t": "event", **event_body(logged)}), logged.seq)


def replay(head_seq: int) -> Frame:
    """Carries no place to stand: the events that follow it do."""
    return Frame(encode({"t": "welcome", "head_seq": head_seq, "mode": "replay"}))


def snapshot(seq: int, state: Mapping[str, Any]) -> Frame:
    return Frame(encode({"t": "welcome", "head_seq": seq, "mode": "snapshot", "snapshot": state}), seq)


def delta(turn: str, attempt: int, start: int, text: str) -> Frame:
    """``start``: where ``text`` begins in the turn's live text, in characters."""
    return Frame(encode({"t": "delta", "turn": turn, "attempt": attempt, "from": start, "text": text}))


def heartbeat(head_seq: int) -> Frame:
    return Frame(encode({"t": "heartbeat", "head_seq": head_seq}))


def presence(watching: int) -> Frame:
    """``watching``: how many different users."""
    return Frame(encode({"t": "presence", "watching": watching}))


def closing(code: int) -> Frame:
    """Server-Sent Events have no close codes, so the last message carries one."""
    return Frame(encode({"t": "close", "code": code}))


PONG = Frame('{"t":"pong"}')
