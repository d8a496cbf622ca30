"""The process that reads files which may be hostile: ``python -m knowledge.imports.child``.

It gets its orders as one JSON object on stdin and answers on stdout, one JSON object a line: ``{"item"}``, ``{"failed"}``, ``{"file"}``
(a member of an archive) and ``{"done"}`` after each file. It knows neither Django nor any secret, may use only so much memory, CPU and
disk, and dies with its parent. A file counts as a whole: nothing is said of it before all of it has been read.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TextIO

from knowledge.imports import archive, docx, html, markdown, pdf, tables
from knowledge.imports.limits import Job, Limits
from knowledge.imports.refusal import Refused
from knowledge.imports.sniff import kind_of
from knowledge.imports.text import Draft, decoded, pieces, require_prose, stem, tidy_title

Said = dict[str, Any]

ORPHANED: Final = 113
LINE_MAX: Final = 6 * 1024 * 1024  # characters of an answer; the largest honest entry escapes to about 2.4 million
_HEAD: Final = 4096
_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    orders = json.loads(sys.stdin.readline())
    limits = Limits(**orders["limits"])
    _die_with(orders["parent"])
    _confine(limits)
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    for order in orders["jobs"]:
        _allow_cpu(limits.seconds)
        _answer(out, Job(**order), orders["folder"], limits)


def _answer(out: TextIO, job: Job, folder: str, limits: Limits) -> None:
    reserve: bytearray | None = bytearray(4 * 1024 * 1024)  # freed to have room to say that memory ran out
    try:
        said = list(read(job, folder, limits))
    except Refused as error:
        said = [_failed(job.name, error.reason)]
    except MemoryError:
        reserve = None
        said = [_failed(job.name, f"Reading the file needs more than {limits.memory_bytes // 2**20} MiB of memory.")]
    except RecursionError:
        said = [_failed(job.name, "The file is nested too deeply.")]
    for one in [*said, {"done": True}]:
        line = json.dumps(one)
        if len(line) > LINE_MAX:
            line = json.dumps(_failed(one.get("source", job.name), "The entry is too large."))
        out.write(line + "\n")
    out.flush()
    del reserve


def read(job: Job, folder: str, limits: Limits) -> Iterator[Said]:
    """Everything that a file says. Raises ``Refused``."""
    size = Path(job.path).stat().st_size
    if size > limits.file_bytes:
        raise Refused(f"The file is larger than {limits.file_bytes // 2**20} MiB.")
    if job.inner and is_header(job):
        return
    with Path(job.path).open("rb") as file:
        kind = kind_of(job.name, file.read(_HEAD), job.media_type)
    if kind == "zip":
        if job.inner:
            raise Refused("An archive inside an archive is not opened.")
        yield from ({"file": asdict(member)} for member in archive.unpack(job.path, job.name, folder, limits))
    elif kind in ("csv", "jsonl"):
        yield from _lines(job, kind, limits)
    else:
        for draft in _drafts(job, kind, limits):
            if job.source_url:
                draft.setdefault("source_url", job.source_url)
            for part, piece in enumerate(pieces(draft, limits.content_chars, limits.title_chars), 1):
                yield {"item": piece, "source": job.name, "part": part}


def is_header(job: Job) -> bool:
    """Is this the description of the pack in an archive that we exported?"""
    if job.name != tables.HEADER_NAME:
        return False
    try:
        value = tables.strict_json(Path(job.path).read_text(encoding="utf-8"))
    except (Refused, UnicodeDecodeError):
        return False
    return isinstance(value, dict) and tables.HEADER in value


def _drafts(job: Job, kind: str, limits: Limits) -> Iterator[Draft]:
    if kind == "pdf":
        yield from pdf.read(job.path, job.name, limits)
    elif kind == "docx":
        yield from docx.read(job.path, job.name, limits)
    else:
        data = Path(job.path).read_bytes()
        text, encoding = decoded(data, html.declared_charset(data) if kind == "html" else "")
        if not text.strip():
            raise Refused("The file is empty.")
        if not (kind == "markdown" and markdown.is_own(text)):
            require_prose(text)
        for draft in _of_text(text, kind, job.name, limits):
            yield _noted(draft, encoding)


def _of_text(text: str, kind: str, name: str, limits: Limits) -> Iterator[Draft]:
    if kind == "html":
        yield from html.read(text, name, limits)
    elif kind == "markdown":
        yield from markdown.read(text, name, limits)
    else:
        yield {"title": tidy_title(stem(name), limits.title_chars), "content": text.strip()}


def _noted(draft: Draft, encoding: str) -> Draft:
    """With a note when the encoding had to be guessed."""
    return {**draft, "metadata": {**draft.get("metadata", {}), "guessed_encoding": encoding}} if encoding else draft


def _lines(job: Job, kind: str, limits: Limits) -> Iterator[Said]:
    text, encoding = decoded(Path(job.path).read_bytes())
    require_prose(text)
    if not text.strip():
        raise Refused("The file is empty.")
    for number, line in enumerate(tables.read_csv(text, limits) if kind == "csv" else tables.read_jsonl(text), 1):
        if number > limits.items:
            raise Refused(f"The file holds more than {limits.items} entries.")
        where = f"{job.name}, {line.where}"
        yield (
            _failed(where, line.reason)
            if line.draft is None
            else {"item": _noted(line.draft, encoding), "source": where}
        )


def _failed(source: str, reason: str) -> Said:
    return {"failed": reason, "source": source}


def _confine(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.unpacked_bytes, limits.unpacked_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def _allow_cpu(seconds: int) -> None:
    """So many more seconds of CPU; then the kernel ends this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _die_with(parent: int) -> None:
    """Linux ends this process when its parent ends; elsewhere the limits of CPU time do, a little later."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(ORPHANED)


if __name__ == "__main__":
    main()
