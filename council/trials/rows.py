"""What one protocol made of one question, and the file that keeps it: one line is appended for each, and reaches the disk before the
next question is begun there. A crash costs what was under way and nothing else."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from council.deliberation.values import Frozen
from council.trials.questions import Said

Status = Literal["decided", "partial", "no_consensus", "failed"]


class RowsDamaged(ValueError):
    """A line that is not the last cannot be read."""


class Flipped(Frozen):
    """A seat that left its position. ``cause``: what moved it as far as that could be traced; "unknown" in older records."""

    before: bool  # was it right?
    after: bool
    cause: Literal["evidence", "error", "none", "unknown"] = "unknown"


class Sample(Frozen):
    """One answer of one model; ``said`` None when it gave none."""

    said: Said | None = None
    confidence: float | None = None
    tokens: int = 0
    reason: str = ""  # why there is no answer


class Key(NamedTuple):
    question: str
    protocol: str
    repeat: int


class Row(Frozen):
    """``prompt_tokens`` to ``seconds`` are of all that was asked; ``answers`` of how many answers that is the cost (only single answers
    are asked for several times). ``usd`` None: the price of some model is unknown."""

    question: str
    field: str
    kind: str
    protocol: str
    repeat: int = Field(ge=1)
    status: Status
    reason: str = ""  # of what is not decided
    answer: str = ""  # as it was graded
    score: float = Field(ge=0, le=1)
    first: bool  # of single answers the first, of others the only one
    stated: tuple[tuple[float, bool], ...] = ()
    opening: float | None = None  # score of the blind openings' most frequent answer
    flips: tuple[Flipped, ...] = ()
    samples: tuple[Sample, ...] = ()
    answers: int = Field(default=1, ge=1)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False  # some tokens were counted by us, for the server did not say
    calls: int = 0
    usd: float | None = None
    seconds: float = 0.0
    session: str | None = None

    @property
    def key(self) -> Key:
        return Key(self.question, self.protocol, self.repeat)

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Results:
    """DIR/results.jsonl. Safe to use from several threads, not from several processes."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self.rows: list[Row] = _read(path)

    def add(self, row: Row) -> None:
        with self._lock:
            with self._path.open("a", encoding="utf-8") as out:
                out.write(row.model_dump_json() + "\n")
                out.flush()
                os.fsync(out.fileno())
            self.rows.append(row)

    @property
    def done(self) -> set[Key]:
        return {row.key for row in self.rows}


def _read(path: Path) -> list[Row]:
    """What is there. A last line without its end was being written when the process died: it is taken away."""
    if not path.exists():
        return []
    whole = path.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    if len(kept) < len(whole):
        with path.open("r+b") as file:
            file.truncate(len(kept))
    return _parse(kept.decode("utf-8").splitlines(), path)


def _parse(lines: Sequence[str], path: Path) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(Row.model_validate_json(line))
        except ValidationError as error:
            raise RowsDamaged(f"{path}, line {number}: is no result of a trial") from error
    return rows
