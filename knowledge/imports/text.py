"""Bytes to text, and long text to pieces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from knowledge.imports.refusal import Refused

Draft = dict[str, Any]  # the fields of an EntryDraft, not checked yet

_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)  # fmt: skip
_SAMPLE: Final = 256 * 1024  # enough to tell an encoding by, and quick
_CONTROLS: Final = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
# Where a long text is cut, best first: before a heading, between paragraphs, lines, sentences, words.
_CUTS: Final = (
    re.compile(r"\n(?=#{1,6} )"),
    re.compile(r"\n[ \t]*\n"),
    re.compile(r"\n"),
    re.compile(r"[.!?] "),
    re.compile(r"\s"),
)


def decoded(data: bytes, declared: str = "") -> tuple[str, str]:
    """The text, and the encoding when it had to be guessed (else ""). Raises ``Refused``.

    UTF-8, or what the byte order mark says; what is neither is guessed, unless most of it is UTF-8: then it is broken, and a guess
    would turn it into nonsense.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _checked(_strict(data, encoding)), ""
    try:
        return _checked(data.decode("utf-8")), ""
    except UnicodeDecodeError as error:
        where = error.start
    if declared:
        return _checked(_strict(data, declared)), declared.lower()
    lossy = data.decode("utf-8", "replace")
    broken = lossy.count("\ufffd")
    if sum(not char.isascii() for char in lossy) - broken > broken:
        raise Refused(f"The text is damaged: it is UTF-8, but byte {where} is not.")
    return _guessed(data)


def _guessed(data: bytes) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE]).best()
    if best is None:
        raise Refused("The encoding of the text cannot be told; save it as UTF-8.")
    encoding = best.encoding
    # Latin-1 and its relatives say the same of Western text; Windows' own is what such files are.
    for candidate in ("cp1252", encoding) if encoding in ("latin_1", "iso8859_15", "cp1250", "cp1252") else (encoding,):
        try:
            return _checked(data.decode(candidate)), candidate
        except (UnicodeDecodeError, LookupError):
            continue
    raise Refused(f"The text looks like {encoding}, but is damaged; save it as UTF-8.")


def _strict(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Refused(f"The text says that it is {encoding}, but byte {error.start} is not.") from error
    except LookupError as error:
        raise Refused(f"The text says that its encoding is {encoding[:40]!a}, which nobody knows.") from error


def _checked(text: str) -> str:
    if "\x00" in text:
        raise Refused("The file contains NUL characters, so it is not text.")
    return text


def require_prose(text: str) -> None:
    """Raises ``Refused`` for what decodes but was not written for people."""
    if len(_CONTROLS.findall(text)) > len(text) / 100:
        raise Refused("The file is full of control characters, so it is not text.")


def tidy_title(text: object, limit: int) -> str:
    """One line without control characters, at most ``limit`` characters; "" when nothing is left."""
    if not isinstance(text, str):
        return ""
    line = "".join(char if unicodedata.category(char) not in ("Cc", "Cs") else " " for char in text)
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def stem(name: str) -> str:
    """A title for a file that has none: its name without folders and extension."""
    return PurePosixPath(name).stem.replace("_", " ").strip() or name


def pieces(draft: Draft, content_chars: int, title_chars: int) -> Iterator[Draft]:
    """The draft itself, or numbered drafts of its parts when its content is too long for one entry."""
    parts = list(split(draft["content"], content_chars))
    if len(parts) == 1:
        yield draft
        return
    for number, part in enumerate(parts, 1):
        mark = f" ({number}/{len(parts)})"
        named = {"title": tidy_title(draft["title"], title_chars - len(mark)) + mark, "content": part}
        external = {"external_id": f"{draft['external_id']}#{number}"} if draft.get("external_id") else {}
        yield {**draft, **named, **external}


def split(text: str, limit: int) -> Iterator[str]:
    """Parts of at most ``limit`` characters, cut at the best place in the second half of each."""
    while len(text) > limit:
        cut = _cut(text, limit)
        part, text = text[:cut].rstrip(), text[cut:].lstrip("\r\n")
        if part:
            yield part
    if text.strip():
        yield text


def _cut(text: str, limit: int) -> int:
    for pattern in _CUTS:
        places = [match.end() for match in pattern.finditer(text, limit // 2, limit)]
        if places:
            return places[-1]
    return limit
