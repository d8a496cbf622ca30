"""Which entries a search may return: conditions on their fields and metadata, as SQL with parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

OPERATORS: Final = ("eq", "ne", "gt", "gte", "lt", "lte", "in")
META_MAX: Final = 10  # conditions on metadata in one search
_SIGN: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?", re.ASCII)  # PostgreSQL reads no other digits
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DATE_SQL: Final = r"^\d{4}-\d\d-\d\d([T ]|$)"


@dataclass(frozen=True, slots=True)
class Meta:
    """``metadata[key] <operator> value``; the type of ``value`` (number, boolean, date, text) is read from how it is written."""

    key: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Filters:
    """All must hold. ``source`` is the beginning of the source's address, ``statuses`` are index states."""

    tags: Sequence[str] = ()
    source: str = ""
    statuses: Sequence[str] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    meta: Sequence[Meta] = ()

    def __bool__(self) -> bool:
        return any((self.tags, self.source, self.statuses, self.created_after, self.created_before, self.meta))


@dataclass(slots=True)
class Conditions:
    """SQL conditions on ``e`` (the entry) and their parameters."""

    sql: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, sql: str, **values: Any) -> None:
        self.sql.append(sql)
        self.values.update(values)


def conditions(filters: Filters) -> Conditions:
    made = Conditions()
    if filters.tags:
        made.add("e.tags @> %(tags)s::varchar[]", tags=list(filters.tags))
    if filters.source:
        made.add("starts_with(e.source_url, %(source)s::text)", source=filters.source)
    if filters.statuses:
        made.add("e.index_status = ANY(%(statuses)s::varchar[])", statuses=list(filters.statuses))
    if filters.created_after:
        made.add("e.created_at >= %(created_after)s::timestamptz", created_after=filters.created_after)
    if filters.created_before:
        made.add("e.created_at < %(created_before)s::timestamptz", created_before=filters.created_before)
    for number, meta in enumerate(filters.meta):
        _meta(made, number, meta)
    return made


def _meta(made: Conditions, number: int, meta: Meta) -> None:
    key, value = f"meta_key_{number}", f"meta_value_{number}"
    held = f"(e.metadata -> %({key})s::text)"
    if meta.operator in ("eq", "in", "ne"):
        texts = meta.value.split(",") if meta.operator == "in" else [meta.value]
        same = f"{held} = ANY(%({value})s::text[]::jsonb[])"
        wanted = [literal for text in texts for literal in _literals(text)]
        made.add(f"NOT coalesce({same}, false)" if meta.operator == "ne" else same, **{key: meta.key, value: wanted})
        return
    text = f"(e.metadata ->> %({key})s::text)"
    made.add(_ordered(held, text, _SIGN[meta.operator], value, meta.value), **{key: meta.key, value: meta.value})


def _ordered(held: str, text: str, sign: str, value: str, written: str) -> str:
    """An order holds between values of one type only; CASE keeps casts away from values of another."""
    if _NUMBER.fullmatch(written):
        return f"CASE WHEN jsonb_typeof({held}) = 'number' THEN {text}::numeric {sign} %({value})s::text::numeric ELSE false END"
    if _DATE.fullmatch(written):
        return f"CASE WHEN {text} ~ '{_DATE_SQL}' THEN left({text}, 10) COLLATE \"C\" {sign} %({value})s::text ELSE false END"
    return (
        f"CASE WHEN jsonb_typeof({held}) = 'string' THEN {text} COLLATE \"C\" {sign} %({value})s::text ELSE false END"
    )


def _literals(text: str) -> list[str]:
    """JSON values that this text may mean: itself, and the number or boolean that it reads as."""
    literals = [json.dumps(text)]
    if _NUMBER.fullmatch(text):
        literals.append(_json_number(text))
    if text in ("true", "false"):
        literals.append(text)
    return literals


def _json_number(text: str) -> str:
    """JSON allows neither a plus sign nor leading zeros."""
    sign = "-" if text.startswith("-") else ""
    digits = text.lstrip("+-").lstrip("0")
    return sign + (digits if digits and not digits.startswith(".") else f"0{digits}")
