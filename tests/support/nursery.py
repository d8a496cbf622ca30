"""Starts the processes of a LiveStack: `python -m tests.support.nursery` has loaded everything and forks them when told to.

A process with threads, as a test run is, may not fork, and each of five programs of their own would load Django for 4 s of CPU.
Orders come as one JSON list a line on standard input, answers go out the same way; the nursery and what it started end when the
input does.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from config.embedded import celery_child, nursery
from config.embedded.process import Child, ChildSpec


class Nursery:
    """The test's side. ``env`` is the whole environment of what is started, apart from what ``start`` adds."""

    def __init__(self, env: Mapping[str, str], cwd: Path) -> None:
        self._process = subprocess.Popen(  # a fixed program, no shell
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(env),
            cwd=cwd,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Everything that it started is killed: nothing of a test's stack is worth keeping."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def start(self, name: str, program: list[str], log: Path, env: Mapping[str, str]) -> Newborn:
        """``program``: "celery" or "uvicorn" and its arguments."""
        return Newborn(name, self._ask("start", name, program, str(log), dict(env)), self._ask)

    def _ask(self, *order: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the nursery has ended with {self._process.wait()}")
        return json.loads(answer)


class Newborn:
    """A process of the nursery, as ``config.embedded.process.Child`` is of this one."""

    def __init__(self, name: str, pid: int, ask: Callable[..., Any]) -> None:
        self.name, self.pid, self._ask = name, pid, ask

    def has_ended(self) -> bool:
        return bool(self._ask("has_ended", self.name))

    def send(self, number: signal.Signals) -> None:
        self._ask("send", self.name, int(number))

    def end(self) -> None:
        """``kill -9`` of the process and its group; returns when it is gone."""
        self._ask("end", self.name)


class _Room:
    """The nursery's side."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    def obey(self, action: str, name: str, *given: Any) -> Any:
        if action == "start":
            program, log, env = given
            run = partial(_PROGRAMS[program[0]], program[1:])
            spec = ChildSpec(name, [], Path(log), healthy=lambda _pid: True, run=run, env=env)
            self._children[name] = Child(spec)
            return self._children[name].pid
        child = self._children[name]
        match action:
            case "has_ended":
                return child.has_ended()
            case "send":
                child.send(signal.Signals(*given))
            case "end":
                child.end()
            case _:
                raise ValueError(action)
        return None

    def clear(self) -> None:
        for child in self._children.values():
            child.end()


def _uvicorn(arguments: list[str]) -> None:
    import uvicorn

    uvicorn.main(arguments)


_PROGRAMS: dict[str, Callable[[list[str]], object]] = {"uvicorn": _uvicorn, "celery": celery_child.main}


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is for the test run, which then tells us
    nursery.load()
    room = _Room()
    try:
        for line in sys.stdin:
            print(json.dumps(room.obey(*json.loads(line))), flush=True)
    finally:
        room.clear()


if __name__ == "__main__":
    main()
