"""CSV and JSON lines: many entries in one file, each good or bad by itself."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from knowledge.imports.limits import Limits
from knowledge.imports.refusal import Refused
from knowledge.imports.text import Draft

HEADER: Final = "quorum_pack"  # this key marks the header line of our own export
HEADER_NAME: Final = "pack.json"  # the same, in an archive
_DEPTH: Final = 32
_COLUMNS: Final = ("title", "content", "tags", "metadata", "external_id", "source_url", "language")


@dataclass(frozen=True, slots=True)
class Line:
    """What one line gave: a draft, or the reason why there is none."""

    where: str
    draft: Draft | None = None
    reason: str = ""


def read_csv(text: str, limits: Limits) -> Iterator[Line]:
    """A header names the columns: title, content, tags, metadata, metadata.KEY, external_id, source_url, language."""
    first = text.lstrip("\r\n").split("\n", 1)[0]
    if max(map(first.count, ",;\t|")) >= limits.columns:
        raise Refused(f"The table has more than {limits.columns} columns.")
    csv.field_size_limit(limits.content_chars * 4)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(first), strict=True)
    try:
        columns = _columns(next(rows, []))
        for cells in rows:
            if any(cell.strip() for cell in cells):
                yield _row(f"line {rows.line_num}", columns, cells)
    except csv.Error as error:
        raise Refused(f"Line {rows.line_num} is not CSV: {error}.") from error


def _delimiter(line: str) -> str:
    outside = "".join(line.split('"')[::2])
    return max(",;\t|", key=outside.count)


def _columns(header: list[str]) -> list[str]:
    columns = [cell.strip() if cell.strip().startswith("metadata.") else cell.strip().lower() for cell in header]
    missing = [name for name in ("title", "content") if name not in columns]
    if missing:
        raise Refused(
            f"The first line must name the columns, among them title and content; missing: {', '.join(missing)}."
        )
    unknown = [name for name in columns if name not in _COLUMNS and not (name.startswith("metadata.") and name[9:])]
    if unknown:
        names = ", ".join(ascii(name[:40]) for name in unknown[:5])
        raise Refused(f"Unknown columns: {names}. Name them metadata.… to keep them as metadata.")
    if len(set(columns)) < len(columns):
        raise Refused("A column stands twice in the header.")
    return columns


def _row(where: str, columns: list[str], cells: list[str]) -> Line:
    if len(cells) > len(columns):
        return Line(where, reason=f"The line has {len(cells)} cells, the header {len(columns)}.")
    draft: Draft = {"tags": [], "metadata": {}}
    for name, cell in zip(columns, cells, strict=False):
        if name in ("title", "content"):
            draft[name] = cell
        elif not cell.strip():
            continue
        elif name == "tags":
            draft["tags"] = _tags(cell)
        elif name.startswith("metadata."):
            draft["metadata"][name[9:]] = cell
        elif name == "metadata":
            value = _json(cell)
            if not isinstance(value, dict):
                return Line(where, reason="The metadata are not a JSON object.")
            draft["metadata"] |= value
        else:
            draft[name] = cell.strip()
    return Line(where, draft)


def _tags(cell: str) -> Any:
    value = _json(cell) if cell.lstrip().startswith("[") else None
    if isinstance(value, list):
        return value
    return [word.strip() for word in cell.replace(";", ",").split(",") if word.strip()]


def _json(text: str) -> Any:
    try:
        return strict_json(text)
    except Refused:
        return None


def read_jsonl(text: str) -> Iterator[Line]:
    """One entry a line, in the shape of the API; a header line of our own export is passed over."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"line {number}"
        try:
            value = strict_json(line)
        except Refused as error:
            yield Line(where, reason=error.reason)
            continue
        if not isinstance(value, dict):
            yield Line(where, reason="The line is not a JSON object.")
        elif HEADER not in value:
            yield Line(where, {key: item for key, item in value.items() if item is not None})


def strict_json(text: str) -> Any:
    """The value, without NaN, infinities, absurd numbers and absurd nesting. Raises ``Refused``."""
    try:
        value = json.loads(text, parse_constant=_constant, parse_float=_finite, parse_int=_integer)
    except RecursionError as error:
        raise Refused("The JSON is nested too deeply.") from error
    except ValueError as error:
        raise Refused(f"The line is not JSON: {error}.") from error
    level = [value]
    for _ in range(_DEPTH):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise Refused("The JSON is nested too deeply.")


def _children(value: Any) -> list[Any]:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in values if isinstance(child, dict | list)]


def _constant(name: str) -> Any:
    raise Refused(f"{name} is not JSON.")


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise Refused("A number is too large.")
    return number


def _integer(literal: str) -> int:
    if len(literal) > 310:  # a double as PostgreSQL writes it out
        raise Refused("A whole number has more than 310 digits.")
    return int(literal)
