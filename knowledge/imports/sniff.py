"""What a file is: its name and its content must agree."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from knowledge.imports.refusal import Refused

EXTENSIONS: Final = {
    ".md": "markdown", ".markdown": "markdown", ".txt": "text", ".text": "text", ".html": "html", ".htm": "html", ".xhtml": "html",
    ".pdf": "pdf", ".docx": "docx", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".zip": "zip",
}  # fmt: skip
MEDIA_TYPES: Final = {
    "text/html": ".html", "application/xhtml+xml": ".html", "text/markdown": ".md", "text/plain": ".txt", "text/csv": ".csv",
    "application/pdf": ".pdf", "application/zip": ".zip", "application/x-ndjson": ".jsonl", "application/jsonl": ".jsonl",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}  # fmt: skip
NAMES: Final = {
    "markdown": "Markdown", "text": "text", "html": "HTML", "pdf": "a PDF", "docx": "a Word document", "csv": "a table",
    "jsonl": "JSON lines", "zip": "a zip archive",
}  # fmt: skip
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_MAGIC: Final = (
    (b"MZ", "a Windows program"), (b"\x7fELF", "a Linux program"), (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "a program"), (b"\x89PNG", "a PNG image"), (b"\xff\xd8\xff", "a JPEG image"), (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip file"), (b"7z\xbc\xaf", "a 7z archive"), (b"Rar!", "a RAR archive"), (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"), (b"\xd0\xcf\x11\xe0", "an old Office file (save it as .docx)"), (b"{\\rtf", "an RTF document"),
    (b"SQLite format 3", "a database"),
)  # fmt: skip
_HTML: Final = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?(<!--(?:(?!-->).)*+-->\s*)*+<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_BOMS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def kind_of(name: str, head: bytes, media_type: str = "") -> str:
    """One of ``NAMES``'s keys. ``head`` is the beginning of the file. Raises ``Refused`` for types that are not read and when the
    name says one thing and the content another."""
    extension = PurePosixPath(name).suffix.lower() or MEDIA_TYPES.get(media_type.partition(";")[0].strip().lower(), "")
    content = _content(head)
    if not extension:
        if content in ("pdf", "zip", "text"):
            return "html" if content == "text" and _HTML.match(head) else content
        raise Refused(f"The file has no extension and looks like {content}, which is not read.")
    kind = EXTENSIONS.get(extension)
    if kind is None:
        raise Refused(f"Files of type {extension!a} are not read; these are: {', '.join(EXTENSIONS)}.")
    wanted = {"pdf": "pdf", "docx": "zip", "zip": "zip"}.get(kind, "text")
    if content != wanted:
        raise Refused(f"The name says that this is {NAMES[kind]}, but the content is {NAMES.get(content, content)}.")
    return kind


def _content(head: bytes) -> str:
    """``pdf``, ``zip``, ``text``, or the name of what it is instead."""
    if head.startswith(_ZIP):
        return "zip"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if not head.strip():
        return "text"  # empty, or white space: the reader says so
    if not head.startswith(_BOMS) and b"\x00" in head:
        return "binary data (it contains NUL bytes)"
    return "text"
