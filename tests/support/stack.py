"""Quorum as it runs in production, for tests: the web server, the Celery workers and beat as processes of their own.

    with LiveStack(tmp_path) as stack:       # a test with ``transactional_db``: what it commits, the processes see
        stack.url                            # http://127.0.0.1:PORT
        stack.fake.set_rules(...)            # the models, a FakeModelServer in this process
        stack.kill_worker("turns")           # kill -9, with everything it started
        stack.start_worker("turns")

They are forked from one process that has loaded everything, as those of ``manage.py up`` are, and die with the tests.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from django.conf import settings
from django.db import connection

from config.embedded.apps import CONTROL_THREADS, QUICK_START, TURN_THREADS
from config.embedded.network import LOOPBACK
from config.embedded.process import READY_FILE, wrote_its_pid
from config.web import bind
from tests.support.fake_openai import FakeModelServer
from tests.support.nursery import Newborn, Nursery

START_TIMEOUT_S = 60.0
LOG_TAIL = 4000  # characters of a log in an error message
POOLS = {
    "turns": ("threads", TURN_THREADS),
    "control": ("threads", CONTROL_THREADS),
    "index": ("prefork", 1),
}


@dataclass(frozen=True)
class _Spec:
    """A process that may be started; ``healthy`` is asked with its process id."""

    program: list[str]
    log: Path
    healthy: Callable[[int], bool]
    env: Mapping[str, str] = field(default_factory=dict)


class LiveStack:
    """``model`` is the default model (see ``fake_openai.MODELS``); ``env`` overrides settings of the processes; ``only`` names those
    that are started at once, where a test can do without the others."""

    def __init__(
        self,
        folder: Path,
        *,
        model: str = "fake",
        env: Mapping[str, str] | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        # Stays open while the web server is started again, as it does below ``manage.py up``.
        [self._listener] = bind(LOOPBACK, 0)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.fake = FakeModelServer()
        self._folder = folder
        self._model = model
        self._env = dict(env or {})
        self._only = only
        self._specs: dict[str, _Spec] = {}
        self._nursery: Nursery | None = None
        self._own: dict[str, Nursery] = {}  # of processes that have settings of their own
        self._children: dict[str, Newborn] = {}

    def __enter__(self) -> Self:
        self.fake.__enter__()
        try:
            self._specs = self._described()
            every = ["web", "beat", *POOLS]
            wanted = [name for name in self._specs if name in (every if self._only is None else self._only)]
            for name in wanted:
                self._start(name)
            for name in wanted:
                self._wait_healthy(name)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Killed rather than asked: nothing here is worth keeping, and a test that failed may have left them hanging."""
        self._children.clear()
        for nursery in (self._nursery, *self._own.values()):
            if nursery is not None:
                nursery.__exit__(kind, error, trace)
        self._nursery = None
        self._own.clear()
        self._listener.close()
        self.fake.__exit__(kind, error, trace)

    def start_worker(self, queue: str, env: Mapping[str, str] | None = None) -> None:
        """Start a process that was killed or left out (any of ``POOLS``, each also with "-another", "council" for turns and control in
        one, "web" or "beat"), with ``env`` besides, and wait until it works."""
        self._start(queue, env)
        self._wait_healthy(queue)

    def stop_worker(self, name: str, number: signal.Signals = signal.SIGTERM) -> float:
        """Ask a process to end, as ``manage.py up`` and every deployment does; the seconds that it took. Fails when it does not."""
        self.tell(name, number)
        return self.wait_ended(name)

    def wait_ended(self, name: str, within: float = 10) -> float:
        """Until a process that was told to has ended; the seconds that it took."""
        child, began = self._children[name], time.monotonic()
        while not child.has_ended():
            if time.monotonic() - began > within:
                raise AssertionError(f"{name} did not end within {within} s:\n{self.log(name)[-LOG_TAIL:]}")
            time.sleep(0.02)
        del self._children[name]
        return time.monotonic() - began

    def tell(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and go on."""
        self._children[name].send(number)

    def kill_worker(self, queue: str) -> None:
        """``kill -9`` of the process and its group; returns when it is gone."""
        self._children.pop(queue).end()
        if queue in self._own:
            self._own.pop(queue).__exit__()

    def runs(self, name: str) -> bool:
        """It was started and not ended by us."""
        return name in self._children

    def has_died(self, name: str) -> bool:
        """By itself; what ``kill_worker`` killed is forgotten."""
        return name in self._children and self._children[name].has_ended()

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def log(self, name: str) -> str:
        """What a process has written so far."""
        path = self._specs[name].log
        return path.read_text(errors="replace") if path.exists() else ""

    def _start(self, name: str, env: Mapping[str, str] | None = None) -> None:
        if name in self._children:
            raise RuntimeError(f"{name} is running already")
        spec = self._specs[name]
        self._children[name] = self._nursery_of(name, env or {}).start(name, spec.program, spec.log, spec.env)

    def _nursery_of(self, name: str, env: Mapping[str, str]) -> Nursery:
        """Settings are read when a nursery loads, so a process with some of its own takes a nursery of its own."""
        if not env:
            self._nursery = self._nursery or Nursery(self._environment(), settings.BASE_DIR, self._listener)
            return self._nursery
        self._own[name] = Nursery({**self._environment(), **env}, settings.BASE_DIR, self._listener)
        return self._own[name]

    def _wait_healthy(self, name: str) -> None:
        child, deadline = self._children[name], time.monotonic() + START_TIMEOUT_S
        while not self._specs[name].healthy(child.pid):
            if child.has_ended() or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{self.log(name)[-LOG_TAIL:]}")
            time.sleep(0.05)

    def _described(self) -> dict[str, _Spec]:
        found = {"web": self._spec("web", ["web", "--fd", str(self._listener.fileno())])}
        found["beat"] = self._celery("beat", ["beat", "-s", str(self._folder / "schedule")])
        for queue, (pool, size) in POOLS.items():
            for name in (queue, f"{queue}-another"):
                found[name] = self._worker(name, queue, pool, size)
        found["council"] = self._worker("council", "turns,control", "threads", TURN_THREADS)
        return found

    def _worker(self, name: str, queue: str, pool: str, size: int) -> _Spec:
        work = ["worker", "-Q", queue, "-n", f"{name}@%h", "--pool", pool, "--concurrency", str(size)]
        return self._celery(name, [*work, "--prefetch-multiplier", "1", *QUICK_START])

    def _celery(self, name: str, command: list[str]) -> _Spec:
        return self._spec(name, ["celery", "-A", "config", *command, "--loglevel", "INFO"])

    def _spec(self, name: str, program: list[str]) -> _Spec:
        ready = self._folder / f"{name}.ready"
        return _Spec(program, self._folder / f"{name}.log", healthy=wrote_its_pid(ready), env={READY_FILE: str(ready)})

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "SECRET_KEY": settings.SECRET_KEY,  # sessions that a test signs in are valid there
            "PUBLIC_URL": self.url,
            "LLM_BASE_URL": self.fake.url,
            "LLM_MODEL": self._model,
            "RATE_LIMITS": "false",
            **self._env,
        }


def database_url() -> str:
    """The database of this test run; the settings name the one that it was made beside."""
    values = connection.settings_dict
    account = ":".join(quote(str(values[part]), safe="") for part in ("USER", "PASSWORD") if values[part])
    return f"postgresql://{account}@{values['HOST']}:{values['PORT']}/{values['NAME']}"
