"""The parent's side of the child process: files go in, what they say comes out, and whatever happens there happens to one file."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

from knowledge.imports.limits import Job, Limits

Said = dict[str, Any]

TICK_S: Final = 1.0  # how often ``alive`` is asked while a file is being read
_LINE_MAX: Final = 8 * 1024 * 1024
_PROJECT: Final = Path(__file__).resolve().parents[2]


def read_files(
    jobs: Sequence[Job], folder: Path, limits: Limits, alive: Callable[[], None]
) -> Iterator[tuple[Job, Said]]:
    """What each file says, in order; members of an archive follow when their archive has been opened.

    ``alive`` is called about once a second and may raise to end it all. A child that dies is replaced; when it had read other files
    before, the file at which it died is tried once more, in a process of its own.
    """
    waiting, until = list(jobs), time.monotonic() + limits.total_seconds
    while waiting:
        child = _Child(waiting, folder, limits)
        try:
            waiting = yield from _converse(child, waiting, limits, until, alive)
        finally:
            child.stop()


def _converse(
    child: _Child, jobs: list[Job], limits: Limits, until: float, alive: Callable[[], None]
) -> Generator[tuple[Job, Said], None, list[Job]]:
    """Speak with one child; returns the files that are left for the next one."""
    for number, job in enumerate(jobs):
        members: list[Job] = []
        said_something = False
        try:
            for said in child.file(limits, until, alive):
                if "file" in said:
                    members.append(Job(**said["file"]))
                else:
                    said_something = True
                    yield job, said
        except _Died as death:
            if number and not said_something and not death.final:
                return jobs[number:]
            yield job, {"failed": death.reason, "source": job.name}
            return jobs[number + 1 :]
        if members:
            return members + jobs[number + 1 :]
    return []


class _Died(Exception):
    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.final = reason, final


class _Child:
    def __init__(self, jobs: Sequence[Job], folder: Path, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", "knowledge.imports.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            # Nothing of our environment: keys and passwords live there.
            env={"PYTHONPATH": str(_PROJECT), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )
        self._out: IO[bytes] = _pipe(self._process.stdout)
        self._rest = b""
        orders = {
            "limits": asdict(limits),
            "parent": os.getpid(),
            "folder": str(folder),
            "jobs": [asdict(job) for job in jobs],
        }
        try:
            with _pipe(self._process.stdin) as stdin:
                stdin.write(json.dumps(orders).encode() + b"\n")
        except BrokenPipeError:
            pass  # it died at once; reading its answer tells how

    def file(self, limits: Limits, until: float, alive: Callable[[], None]) -> Iterator[Said]:
        """What is said until the file is done. Raises ``_Died``."""
        deadline = time.monotonic() + limits.seconds + 5  # the kernel counts CPU seconds; this ends what sleeps
        while True:
            said = json.loads(self._line(min(deadline, until), until, alive))
            if "done" in said:
                return
            yield said

    def _line(self, deadline: float, until: float, alive: Callable[[], None]) -> bytes:
        while b"\n" not in self._rest:
            alive()
            now = time.monotonic()
            if now > deadline:
                self.stop()
                reason = "The import as a whole took too long." if now > until else self._slow()
                raise _Died(reason, final=now > until)
            if not select.select([self._out], [], [], TICK_S)[0]:
                continue
            chunk = os.read(self._out.fileno(), 1 << 20)
            if not chunk or len(self._rest) > _LINE_MAX:
                raise _Died(self._cause())
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def _cause(self) -> str:
        code = self._process.wait(timeout=10)
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return self._slow()
        return "The file broke the program that read it; it is damaged or hostile."

    def _slow(self) -> str:
        return f"Reading the file took longer than {self._limits.seconds} s."

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=10)
        self._out.close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise TypeError("the child was started without a pipe")
    return stream
