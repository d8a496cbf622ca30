"""Files that mean harm: each fails with a reason that a person understands, and leaves the pack as it was."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from accounts.models import User
from knowledge import selectors
from knowledge.imports import files
from knowledge.imports import job as imports_job
from knowledge.imports.limits import Job, Limits
from knowledge.imports.sandbox import read_files
from knowledge.models import Import, KnowledgePack
from knowledge.services import imports as service
from tests.knowledge import hostile
from tests.knowledge.conftest import Fill

EXTERNAL = '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
DEEP = '{"a":' * 100 + "1" + "}" * 101
GIB = 1024**3
MIB = 1024**2


def nested_zip() -> bytes:
    data = b"a" * (10 * MIB)
    for depth in range(5):
        data = hostile.zipped({f"{depth}-{number}.zip": data for number in range(5)})
    return data


def html_tree(depth: int) -> bytes:
    return b"<html>" + b"<div>" * depth + b"x" + b"</div>" * depth


HOSTILE: list[tuple[str, str, Callable[[], bytes | str], str]] = [
    ("zip bomb by ratio", "a.zip", lambda: hostile.zipped({"a.txt": b"a" * (40 * MIB)}), "over 200 times its size"),
    ("zip bomb by total", "a.zip", lambda: hostile.zipped({f"{i}": b"ab" * (13 * MIB) for i in range(10)}), "unpacks to more than 200 MiB"),
    ("zip that lies about sizes", "a.zip", hostile.lying_zip, "in the archive is damaged"),
    ("nested zip bomb", "a.zip", nested_zip, "An archive inside an archive is not opened."),
    ("zip of too many files", "a.zip", lambda: hostile.zipped({f"{i}.md": "" for i in range(10_001)}), "holds 10001 files; at most 10000"),
    ("encrypted zip", "a.zip", hostile.encrypted_zip, "The archive is encrypted"),
    ("truncated zip", "a.zip", lambda: hostile.zipped({"a.md": "text"})[:-30], "damaged and cannot be opened"),
    ("path traversal", "a.zip", lambda: hostile.zipped({"good.md": "x", "../../evil.md": "x"}), "outside of its own folder"),
    ("path traversal with backslashes", "a.zip", lambda: hostile.zipped({"..\\evil.md": "x"}), "outside of its own folder"),
    ("absolute path", "a.zip", lambda: hostile.zipped({"/etc/cron.d/evil.md": "x"}), "outside of its own folder"),
    ("drive letter", "a.zip", lambda: hostile.zipped({"C:/evil.md": "x"}), "outside of its own folder"),
    ("symbolic link", "a.zip", hostile.with_symlink, "is a link or a device"),
    ("control characters in a name", "a.zip", lambda: hostile.zipped({"a\x1b[2Jb.md": "x"}), "with control characters"),
    ("endless name", "a.zip", lambda: hostile.zipped({"a" * 5000 + ".md": "x"}), "which is too long"),
    ("billion laughs in a DOCX", "a.docx", lambda: hostile.docx("&j;", doctype=hostile.LAUGHS), "declares XML types or entities"),
    ("external entity in a DOCX", "a.docx", lambda: hostile.docx("&x;", doctype=EXTERNAL), "declares XML types or entities"),
    ("DOCX that is a bomb", "a.docx", lambda: hostile.zipped({"word/document.xml": b" " * (40 * MIB)}), "over 200 times its size"),
    ("DOCX that is another zip", "a.docx", lambda: hostile.zipped({"a.xml": "<a/>"}), "another kind of zip archive"),
    ("DOCX nested without end", "a.docx", lambda: hostile.docx("</w:t></w:r></w:p>" + "<w:p>" * 5000), "nested too deeply"),
    ("entities in HTML", "a.html", lambda: hostile.LAUGHS + "<p>&j;</p>", "declares XML entities"),
    ("HTML nested without end", "a.html", lambda: html_tree(100_000), "nested too deeply"),
    ("10,000 pages", "a.pdf", lambda: hostile.pdf(*["x"] * 10_000), "has 10000 pages; at most 2000 are read"),
    ("encrypted PDF", "a.pdf", lambda: hostile.pdf("secret", encrypted=True), "The PDF is encrypted"),
    ("damaged PDF", "a.pdf", lambda: "%PDF-1.4\nnothing", "The PDF is damaged"),
    ("PDF without text", "a.pdf", lambda: hostile.pdf(""), "probably scanned"),
    ("program named PDF", "a.pdf", lambda: b"MZ\x90\x00" * 100, "is a PDF, but the content is a Windows program"),
    ("program named text", "a.txt", lambda: b"\x7fELF\x02\x01" * 100, "is text, but the content is a Linux program"),
    ("PDF named Markdown", "a.md", lambda: hostile.pdf("x"), "is Markdown, but the content is a PDF"),
    ("unknown type", "a.exe", lambda: b"MZ", "Files of type '.exe' are not read"),
    ("broken UTF-8", "a.txt", lambda: "Zürich grüßt Köln".encode()[:-1] + b"\xc3" + "\u00e4\u00f6\u00fc".encode(), "it is UTF-8, but byte"),
    ("broken UTF-16", "a.txt", lambda: b"\xff\xfea\x00\x00\xd8b\x00", "says that it is utf-16"),
    ("NUL bytes", "a.md", lambda: b"text\x00more", "it contains NUL bytes"),
    ("control characters", "a.md", lambda: b"\x01\x02\x03 text", "full of control characters"),
    ("empty file", "a.md", lambda: b" \n", "The file is empty."),
    ("a million columns", "a.csv", lambda: "title,content," + "c," * 1_000_000 + "\n", "more than 200 columns"),
    ("a million columns below", "a.csv", lambda: "title,content\n" + "x," * 1_000_000, "The line has 1000001 cells, the header 2."),
    ("an open quote", "a.csv", lambda: 'title,content\na,"b\n', "is not CSV"),
    ("CSV without header", "a.csv", lambda: "1,2\n3,4\n", "missing: title, content"),
    ("JSON nested without end", "a.jsonl", lambda: "[" * 100_000 + "]" * 100_000, "nested too deeply"),
    ("JSON nested deeply", "a.jsonl", lambda: '{"title":"a","content":"b","metadata":' + DEEP, "nested too deeply"),
    ("endless number", "a.jsonl", lambda: '{"title":"a","content":"b","metadata":{"n":' + "9" * 100_000 + "}}", "more than 310 digits"),
    ("not a number", "a.jsonl", lambda: '{"title":"a","content":"b","metadata":{"n":NaN}}', "NaN is not JSON"),
    ("NUL in JSON", "a.jsonl", lambda: '{"title":"a\\u0000","content":"b"}', "title: may not contain NUL"),
    ("lone surrogate in JSON", "a.jsonl", lambda: '{"title":"a","content":"\\ud800"}', "content: Input should be a valid string"),
    ("unknown field", "a.jsonl", lambda: '{"title":"a","content":"b","owner":"me"}', "owner: Extra inputs"),
    ("title of a megabyte", "a.jsonl", lambda: '{"title":"' + "a" * MIB + '","content":"b"}', "title: String should have at most 200"),
    ("entry of eight megabytes", "a.jsonl", lambda: '{"title":"a","content":"' + "a" * 8 * MIB + '"}', "The entry is too large."),
    ("YAML that multiplies", "a.md", lambda: "---\na: &a [x,x]\nb: &b [*a,*a]\n---\ntext", "uses YAML aliases"),
    ("YAML that makes objects", "a.md", lambda: "---\na: !!python/object/apply:os.system [id]\n---\ntext", "not YAML that can be read"),
]  # fmt: skip


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """The most bytes that each child had resident while it lived, and how many we had more than before (the tests that ran in this
    process earlier have left their own). What ``getrusage`` says of children is the greatest of all that this process ever had."""
    peak: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
                with suppress(OSError):
                    peak.extend(_most_resident(pid) for pid in child.read_text().split())

    Path("/proc/self/clear_refs").write_text("5")  # resets our own peak
    before = _most_resident("self")
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()
        peak.append(_most_resident("self") - before)


def _most_resident(pid: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


@pytest.mark.django_db
@pytest.mark.parametrize("number", range(len(HOSTILE)), ids=[case[0].replace(" ", "-") for case in HOSTILE])
def test_it_fails_with_a_reason_and_the_pack_stays_as_it_was(
    pack: KnowledgePack,
    user: User,
    fill: Fill,
    settings: LazySettings,
    tmp_path: Path,
    django_capture_on_commit_callbacks: Any,
    number: int,
) -> None:
    committing = django_capture_on_commit_callbacks
    _, name, make, reason = HOSTILE[number]
    settings.DATA_DIR = tmp_path
    fill(index=False)
    before = _state(pack)
    data = make()
    stored, file = files.create()
    with file:
        file.write(data.encode() if isinstance(data, str) else data)
    job = service.create_import(pack, user, path=stored, filename=name, on_duplicate="update")
    with committing(execute=True), peak_memory() as peak:
        imports_job.run(job.pk)
    job = Import.objects.get(pk=job.pk)
    assert job.status == "failed"
    assert reason in job.error
    assert _state(pack) == before
    assert list((tmp_path / "imports").iterdir()) == []
    assert 0 < max(peak) < GIB


def _state(pack: KnowledgePack) -> object:
    snapshot = selectors.pack_snapshot(pack.pk)
    return snapshot["entries"], {key: snapshot["pack"][key] for key in ("entry_count", "status", "version")}


# --- The child process ----------------------------------------------------------------------------------------------------


def read(folder: Path, given: dict[str, bytes], limits: Limits) -> dict[str, str]:
    """What became of each file: its first title, or the reason why there is none."""
    jobs = []
    for number, (name, data) in enumerate(given.items()):
        path = folder / f"given-{number}"
        path.write_bytes(data)
        jobs.append(Job(str(path), name))
    answers = read_files(jobs, folder, limits, lambda: None)
    return {said["source"]: said["failed"] if "failed" in said else said["item"]["title"] for _, said in answers}


def test_a_file_that_needs_too_much_memory_fails_alone(tmp_path: Path) -> None:
    greedy = b"<html>" + b"<p>a</p>" * 1_500_000
    limits = Limits(memory_bytes=256 * MIB)
    said = read(tmp_path, {"a.md": b"# A\n\nx", "b.html": greedy, "c.md": b"# C\n\nx"}, limits)
    assert said == {"a.md": "A", "b.html": "Reading the file needs more than 256 MiB of memory.", "c.md": "C"}


def test_a_file_that_takes_too_long_fails_alone(tmp_path: Path) -> None:
    slow = b"<html>" + b"<p>a <b>b</b></p>" * 800_000
    said = read(tmp_path, {"a.md": b"# A\n\nx", "b.html": slow, "c.md": b"# C\n\nx"}, Limits(seconds=1))
    assert said == {"a.md": "A", "b.html": "Reading the file took longer than 1 s.", "c.md": "C"}


def test_the_child_knows_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "secret")
    environments: list[str] = []

    def look() -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if b"knowledge.imports.child" in path.read_bytes() and tmp_path == (path.parent / "cwd").readlink():
                    environments.append((path.parent / "environ").read_text())
            except OSError:  # it ended while we looked
                continue

    (tmp_path / "a").write_bytes(b"# A\n\n" + b"many words here\n\n" * 20_000)  # long enough at work to be looked at
    list(read_files([Job(str(tmp_path / "a"), "a.md")] * 40, tmp_path, Limits(), look))
    assert environments
    assert not any("SECRET_KEY" in text or "DATABASE_URL" in text for text in environments)


def test_names_in_an_archive_are_never_used_on_disk(tmp_path: Path) -> None:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("a/b/c.md", "a/b/C.md", "a/b/c.md.md"):
            archive.writestr(name, f"# {name}\n\nx")
    assert len(read(tmp_path, {"a.zip": out.getvalue()}, Limits())) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000", "000001", "000002", "given-0"]
