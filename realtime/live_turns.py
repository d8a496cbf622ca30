"""The unfinished text of running turns, so that whoever joins in mid-turn sees it from its first character.

Which turns run is read from the log by one convention: ``turn.started`` carries ``turn`` and ``attempt`` and opens an attempt,
and every other ``turn.*`` event with the same ``turn`` ends it. A delta of any other turn is late and is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from realtime import frames, nudge
from realtime.frames import Frame
from realtime.sources import LoggedEvent

STARTED = "turn.started"


@dataclass(slots=True)
class LiveTurn:
    attempt: int
    text: str = ""


class Fit(Enum):
    NEXT = "next"  # continues what is known: pass it on
    HOLE = "hole"  # something before it was lost: fetch the whole
    LATE = "late"  # of an attempt that has ended
    UNKNOWN = "unknown"  # of a turn or attempt whose start has not been read yet


class LiveTurns:
    """Running turns of one stream and what they have written so far."""

    def __init__(self) -> None:
        self._turns: dict[str, LiveTurn] = {}

    def see(self, event: LoggedEvent) -> None:
        if not event.type.startswith("turn.") or not isinstance(event.data, dict):
            return
        turn = str(event.data.get("turn"))
        if event.type == STARTED:
            self._turns[turn] = LiveTurn(int(event.data.get("attempt", 0)))
        else:
            self._turns.pop(turn, None)

    def accept(self, message: Mapping[str, Any]) -> Fit:
        """Fit a delta to what is known and keep its text when it continues it."""
        live = self._turns.get(message["turn"])
        if live is None or message["attempt"] > live.attempt:
            return Fit.UNKNOWN
        if message["attempt"] < live.attempt:
            return Fit.LATE
        if message["from"] > len(live.text):
            return Fit.HOLE
        live.text = live.text[: message["from"]] + message["text"]
        return Fit.NEXT

    def restore(self, turn: str, attempt: int, text: str) -> Frame | None:
        """Take the worker's own copy of the text when it is of the running attempt and longer than what is known."""
        live = self._turns.get(turn)
        if live is None or live.attempt != attempt or len(text) <= len(live.text):
            return None
        live.text = text
        return frames.delta(turn, attempt, 0, text)

    def running(self) -> list[str]:
        return list(self._turns)

    def catch_up(self) -> Iterator[Frame]:
        """One delta from the first character for each turn that has written something."""
        for turn, live in self._turns.items():
            if live.text:
                yield frames.delta(turn, live.attempt, 0, live.text)


def stored_text(turn: str) -> tuple[int, str] | None:
    """Attempt and text as the worker last stored them. Blocks up to the nudge timeout; raises ``redis.RedisError``."""
    fields: Any = nudge.client().hgetall(nudge.partial_key(turn))
    if b"text" not in fields:
        return None
    return int(fields[b"attempt"]), fields[b"text"].decode()
