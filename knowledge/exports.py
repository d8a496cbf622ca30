"""A pack as a file that imports to the same entries: JSON lines, or a zip of Markdown files with YAML front matter.

Both begin with a description of the pack (``quorum_pack`` is the version of the format) and hold the entries in the pack's order.
Everything is made piece by piece, for a pack may be larger than memory.
"""

from __future__ import annotations

import io
import json
import re
import unicodedata
import zipfile
from collections.abc import Iterator
from typing import Any, Final

import yaml
from django.db.models import Q

from accounts import audit
from knowledge.imports.markdown import OWN
from knowledge.imports.tables import HEADER, HEADER_NAME
from knowledge.models import Entry, KnowledgePack
from knowledge.selectors import entries_of
from realtime.times import rfc3339

VERSION: Final = 1
PACK_FIELDS: Final = ("name", "description", "visibility", "tags", "language")
MEDIA_TYPES: Final = {"jsonl": "application/x-ndjson", "markdown": "application/zip"}
SUFFIXES: Final = {"jsonl": ".jsonl", "markdown": ".zip"}
_BATCH: Final = 100
_BREAKS: Final = re.compile("[\x85\u2028\u2029\ufeff]")  # PyYAML reads its own unescaped ones back as spaces
_STEM_MAX: Final = 60


def export(pack: KnowledgePack, form: str) -> Iterator[bytes]:
    """The file, in pieces. ``form`` is ``jsonl`` or ``markdown``."""
    audit.record("pack.exported", pack, format=form)
    return markdown_zip(pack) if form == "markdown" else jsonl(pack)


def filename(pack: KnowledgePack, form: str) -> str:
    return f"{slug(pack.name) or 'pack'}{SUFFIXES[form]}"


def jsonl(pack: KnowledgePack) -> Iterator[bytes]:
    """A header line, then one entry a line."""
    yield _line(header(pack))
    for entry in in_order(pack):
        yield _line(_without_nulls(entry_fields(entry)))


def markdown_zip(pack: KnowledgePack) -> Iterator[bytes]:
    """``pack.json``, then one Markdown file for each entry."""
    out = _Drain()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_member(HEADER_NAME), json.dumps(header(pack), ensure_ascii=False, indent=2) + "\n")
        for number, entry in enumerate(in_order(pack), 1):
            archive.writestr(_member(f"{number:06}-{slug(entry.title) or 'entry'}.md"), markdown(entry))
            yield out.taken()
    yield out.taken()


def header(pack: KnowledgePack) -> dict[str, Any]:
    return {HEADER: VERSION, **{name: getattr(pack, name) for name in PACK_FIELDS}, "entry_count": pack.entry_count}


def entry_fields(entry: Entry) -> dict[str, Any]:
    return {
        "title": entry.title,
        "content": entry.revision.content,
        "tags": entry.tags,
        "metadata": entry.metadata,
        "source_url": entry.source_url,
        "external_id": entry.external_id,
        "language": entry.language or None,
        "enabled": None if entry.enabled else False,
        "reviewed_at": rfc3339(entry.reviewed_at) if entry.reviewed_at else None,
        "review_by": entry.review_by.isoformat() if entry.review_by else None,
    }


def markdown(entry: Entry) -> bytes:
    """The entry's fields as front matter, then its content to the letter."""
    fields = _without_nulls(entry_fields(entry))
    content = fields.pop("content")
    front = _yaml({OWN: VERSION, **fields}, readable=True)
    if _BREAKS.search(front):
        front = _yaml({OWN: VERSION, **fields}, readable=False)
    return f"---\n{front}---\n{content}".encode()


def _yaml(fields: dict[str, Any], *, readable: bool) -> str:
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=readable, width=2**31)


def in_order(pack: KnowledgePack) -> Iterator[Entry]:
    """The pack's entries with their content, read in batches: no transaction is held open while somebody's download is slow."""
    entries = entries_of(pack).select_related("revision").order_by("ordinal", "pk")
    place = Q()
    while batch := list(entries.filter(place)[:_BATCH]):
        yield from batch
        last = batch[-1]
        place = Q(ordinal__gt=last.ordinal) | Q(ordinal=last.ordinal, pk__gt=last.pk)


def slug(text: str) -> str:
    """ASCII letters, digits and hyphens, for names of files."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_STEM_MAX].rstrip("-")


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _member(name: str) -> zipfile.ZipInfo:
    """With a fixed time, so that equal packs make equal files."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o100644 << 16
    return info


class _Drain(io.RawIOBase):
    """What ``zipfile`` writes to; ``taken`` empties it."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data
