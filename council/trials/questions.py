"""The question set: one JSON object a line, with the answer and how a reader can verify it.

    closed    options of which ``answer`` is one
    estimate  a figure: right within ``tolerance`` of ``answer``
    open      prose: right when, of all phrases in ``answer`` and ``wrong``, the one that stands first in it is of ``answer``

Error: ``QuestionFault``, one line with the file's line and the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from council.deliberation.types import Scale
from council.deliberation.values import Frozen

HERE = Path(__file__).resolve().parent
BUNDLED = HERE / "questions.jsonl"
_WORD = re.compile(r"\w+")


class QuestionFault(ValueError):
    """The file cannot be used."""


class Said(Frozen):
    """An answer as it is graded."""

    option: str | None = None
    estimate: float | None = None
    text: str = ""


class _Question(Frozen):
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)
    field: str = Field(min_length=1, max_length=40)
    question: str = Field(min_length=1, max_length=4000)
    entries: tuple[str, ...] = ()  # of the pack, that one must have read
    why: str = Field(min_length=1)

    @property
    def options(self) -> tuple[str, ...]:
        return ()

    @property
    def scale(self) -> Scale | None:
        return None

    def key(self, said: Said) -> str:
        raise NotImplementedError

    def same(self, one: Said, other: Said) -> bool:
        return self.key(one) == self.key(other)


class Closed(_Question):
    kind: Literal["closed"]
    choices: tuple[str, ...] = Field(alias="options", min_length=2, max_length=12)
    answer: str

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("options: one stands there twice")
        if self.answer not in self.choices:
            raise ValueError("answer: is none of the options")
        return self

    @property
    def options(self) -> tuple[str, ...]:
        return self.choices

    def key(self, said: Said) -> str:
        return said.option or ""

    def right(self, said: Said) -> bool:
        return said.option == self.answer


class Estimate(_Question):
    kind: Literal["estimate"]
    answer: float = Field(allow_inf_nan=False)
    tolerance: float = Field(ge=0, allow_inf_nan=False)
    unit: str = Field(default="", max_length=40)

    @property
    def scale(self) -> Scale:
        return Scale(unit=self.unit)

    def key(self, said: Said) -> str:
        return "" if said.estimate is None else f"{said.estimate:g}"

    def right(self, said: Said) -> bool:
        return said.estimate is not None and abs(said.estimate - self.answer) <= self.tolerance

    def same(self, one: Said, other: Said) -> bool:
        """A figure says the same as another within the tolerance."""
        both = one.estimate, other.estimate
        return both[0] is not None and both[1] is not None and abs(both[0] - both[1]) <= self.tolerance


class Open(_Question):
    kind: Literal["open"]
    answer: tuple[str, ...] = Field(min_length=1)
    wrong: tuple[str, ...] = ()

    def key(self, said: Said) -> str:
        """Answers that say the same have one key: the right one, a known wrong one, or the text itself."""
        words = f" {_plain(said.text)} "
        phrases = [(one, self.answer[0]) for one in self.answer] + [(one, one) for one in self.wrong]
        found = [(at, -len(phrase), key) for phrase, key in phrases if (at := words.find(f" {_plain(phrase)} ")) >= 0]
        return min(found)[2] if found else words.strip()

    def right(self, said: Said) -> bool:
        return self.key(said) == self.answer[0]


Question = Closed | Estimate | Open
_PARSER: TypeAdapter[Question] = TypeAdapter(Annotated[Question, Field(discriminator="kind")])


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))


# --- reading ----------------------------------------------------------------------------------------------------------


def load(path: Path = BUNDLED) -> list[Question]:
    """Raises ``QuestionFault``."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionFault(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return parse(lines, str(path))


def parse(lines: Iterable[str], name: str = "questions") -> list[Question]:
    found: dict[str, Question] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            one = _PARSER.validate_python(json.loads(line))
        except json.JSONDecodeError as error:
            raise QuestionFault(f"{name}, line {number}: is no JSON: {error.msg}") from error
        except ValidationError as error:
            raise QuestionFault(f"{name}, line {number}: {_fault(error)}") from error
        if one.id in found:
            raise QuestionFault(f"{name}, line {number}: id: {one.id!r} stands here twice")
        found[one.id] = one
    if not found:
        raise QuestionFault(f"{name}: holds no question")
    return list(found.values())


def _fault(error: ValidationError) -> str:
    """The first fault: the field, then what is wrong with it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # The first step names the kind of question; faults of a whole question name their field themselves.
    place = ".".join(str(step) for step in first["loc"][1:]) or ("kind" if first["type"].startswith("union") else "")
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def select(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """At most ``limit`` of them, drawn with ``seed`` from the fields in turn, in the order of the file."""
    if limit is None or limit >= len(questions):
        return list(questions)
    drawn = Random(seed).sample(questions, len(questions))  # noqa: S311  # a draw that must be repeatable
    fields = {field: [one for one in drawn if one.field == field] for field in dict.fromkeys(q.field for q in drawn)}
    turns = [(place, one.id) for group in fields.values() for place, one in enumerate(group)]
    chosen = {one for _, one in sorted(turns, key=lambda turn: turn[0])[:limit]}
    return [one for one in questions if one.id in chosen]


# --- several answers to one question ----------------------------------------------------------------------------------


def vote(question: Question, said: Sequence[Said]) -> Said | None:
    """What several answers come to: the median of figures, the most frequent of others. Level ones fall to the one that was said
    first, which is as good as a draw: the order of samples means nothing."""
    if isinstance(question, Estimate):
        figures = [one.estimate for one in said if one.estimate is not None]
        return Said(estimate=median(figures)) if figures else None
    keys = [question.key(one) for one in said]
    return max(said, key=lambda one: keys.count(question.key(one)), default=None)
