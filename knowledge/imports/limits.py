"""What a file may cost. Plain values, so that they can be handed to the child process as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    file_bytes: int = 50 * 1024 * 1024  # of one file as it was sent
    unpacked_bytes: int = 200 * 1024 * 1024  # of everything that an archive or a document unpacks to
    ratio: int = 200  # of unpacked to packed bytes; text rarely passes 20
    members: int = 10_000  # files of an archive
    items: int = 10_000  # entries of one import
    pages: int = 2_000  # of a PDF
    columns: int = 200  # of a table
    memory_bytes: int = 768 * 1024 * 1024  # address space of the child
    seconds: int = 60  # of CPU, and of waiting, for one file
    total_seconds: int = 900  # for all files of an import
    title_chars: int = 200
    content_chars: int = 200_000


@dataclass(frozen=True, slots=True)
class Job:
    """One file to read. ``name`` is what people call it (a path inside an archive); ``path`` is where its bytes are."""

    path: str
    name: str
    media_type: str = ""
    source_url: str = ""
    inner: bool = False  # it came out of an archive, so it may not be one
