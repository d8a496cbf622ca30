"""What a stream tells, and the place that a reader has reached in it.

LiveError
├── OutOfOrder    an event was missed; whoever follows reconnects from the last one that is known
└── Refused       the server will not have us, and trying again would not change that; ``code`` says why
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

Json = dict[str, Any]


class LiveError(Exception):
    pass


class OutOfOrder(LiveError):
    pass


class Refused(LiveError):
    def __init__(self, code: int, why: str = "") -> None:
        super().__init__(f"refused with {code} {why}".rstrip())
        self.code = code


class Close(IntEnum):
    """Codes that a server closes with."""

    RESTART = 1012
    BAD_FRAME = 4400
    SIGNED_OUT = 4401
    FORBIDDEN = 4403
    UNKNOWN = 4404
    NO_HELLO = 4408
    TOO_SLOW = 4409
    TOO_MANY = 4429


FINAL = frozenset({Close.BAD_FRAME, Close.SIGNED_OUT, Close.FORBIDDEN, Close.UNKNOWN, Close.NO_HELLO})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state as of event ``seq``: whatever was known before is void."""

    seq: int
    state: Json


@dataclass(frozen=True, slots=True)
class Event:
    """Something was committed. ``at``: RFC 3339."""

    seq: int
    type: str
    at: str
    data: Json


@dataclass(frozen=True, slots=True)
class Delta:
    """A model is writing: its live text is now ``old[:start] + text``, counted in code points as Python does."""

    turn: str
    attempt: int
    start: int
    text: str


@dataclass(frozen=True, slots=True)
class Presence:
    """How many different users watch."""

    watching: int


News = Snapshot | Event | Delta | Presence


class Place:
    """Where a reader stands. ``last_seq`` is the last event that it knows; None: nothing yet, so that a snapshot comes first."""

    def __init__(self, last_seq: int | None = None) -> None:
        self.last_seq = last_seq

    def take(self, frame: Json) -> News | None:
        """What a frame tells that is new; None for what tells nothing, and for kinds that came after this client was written.

        Raises ``OutOfOrder`` when an event or a heartbeat shows that one is missing.
        """
        match frame["t"]:
            case "welcome":
                return self._welcome(frame)
            case "event":
                return self._event(frame)
            case "heartbeat" if frame["head_seq"] > (self.last_seq or 0):
                raise OutOfOrder(f"the log is at {frame['head_seq']}, we are at {self.last_seq}")
            case "delta":
                return Delta(frame["turn"], frame["attempt"], frame["from"], frame["text"])
            case "presence":
                return Presence(frame["watching"])
        return None

    def _welcome(self, frame: Json) -> Snapshot | None:
        if frame["mode"] != "snapshot":
            return None
        self.last_seq = int(frame["head_seq"])
        return Snapshot(self.last_seq, frame["snapshot"])

    def _event(self, frame: Json) -> Event | None:
        seq = int(frame["seq"])
        if self.last_seq is not None and seq != self.last_seq + 1:
            if seq <= self.last_seq:
                return None
            raise OutOfOrder(f"event {seq} came after {self.last_seq}")
        self.last_seq = seq
        return Event(seq, frame["type"], frame["at"], frame["data"])
