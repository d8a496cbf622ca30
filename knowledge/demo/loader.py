"""Reads the bundled knowledge packs from the files beside this module. Standard library only, no database.

A pack is a folder with ``pack.json`` (the header) and one Markdown file per entry, named ``<external_id>.md``. An entry starts
with a block between two ``---`` lines in which every line is ``key: value`` and every value is JSON: that needs no YAML parser
and leaves no doubt about types. What follows, without surrounding blank lines, is the entry's content.

Errors: ``DemoContentError`` (a ValueError) names the file that cannot be read as a pack or an entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

FENCE = "---\n"


class DemoContentError(ValueError):
    """A bundled file is malformed: a mistake of ours, so it stops the import instead of skipping the file."""


@dataclass(frozen=True, slots=True)
class DemoEntry:
    """One entry. ``external_id`` is stable across releases, so that loading twice can update instead of duplicate."""

    external_id: str
    title: str
    tags: tuple[str, ...]
    metadata: Mapping[str, str | int]  # kind, year, stance
    source_url: str | None
    content: str  # Markdown


@dataclass(frozen=True, slots=True)
class DemoPack:
    """One pack with its entries, ordered by ``external_id``. ``question`` and ``options`` suggest a council on it."""

    slug: str
    title: str
    description: str
    tags: tuple[str, ...]
    language: str
    question: str
    options: tuple[str, ...]  # empty = open question
    entries: tuple[DemoEntry, ...]


Built = TypeVar("Built", DemoEntry, DemoPack)


def load_packs() -> tuple[DemoPack, ...]:
    """All bundled packs, ordered by slug."""
    folders = (child for child in files(__package__).iterdir() if child.joinpath("pack.json").is_file())
    return tuple(read_pack(folder) for folder in sorted(folders, key=lambda folder: folder.name))


def read_pack(folder: Traversable) -> DemoPack:
    header = folder.joinpath("pack.json")
    try:
        values = json.loads(header.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DemoContentError(f"{folder.name}/pack.json: {error}") from error
    entries = tuple(parse_entry(file.name, file.read_text(encoding="utf-8")) for file in _entry_files(folder))
    return _build(DemoPack, f"{folder.name}/pack.json", values, entries=entries)


def parse_entry(name: str, text: str) -> DemoEntry:
    """``name`` is the file's name: it appears in errors only."""
    start, block, body = (*text.split(FENCE, 2), "", "")[:3]
    if start or not body:
        raise DemoContentError(f"{name}: expected a header between two '---' lines and a text after it")
    return _build(DemoEntry, name, dict(_header(name, block)), content=body.strip())


def _entry_files(folder: Traversable) -> list[Traversable]:
    return sorted((child for child in folder.iterdir() if child.name.endswith(".md")), key=lambda child: child.name)


def _header(name: str, block: str) -> Iterator[tuple[str, Any]]:
    for line in block.splitlines():
        key, _, value = line.partition(": ")
        try:
            yield key, json.loads(value)
        except ValueError as error:
            raise DemoContentError(f"{name}: {line!r} is not 'key: JSON value'") from error


def _build(cls: type[Built], name: str, values: dict[str, Any], **rest: Any) -> Built:
    """An instance of ``cls`` from a file's values plus ``rest``. JSON's lists become tuples, for the values are immutable."""
    expected = {field.name for field in fields(cls)} - rest.keys()
    if values.keys() != expected:
        raise DemoContentError(f"{name}: missing or unknown keys {sorted(values.keys() ^ expected)}")
    frozen: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return cls(**frozen, **rest)
