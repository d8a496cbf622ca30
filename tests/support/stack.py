"""Quorum as it runs in production, for tests: the web server, the Celery workers and beat as processes of their own.

    with LiveStack(tmp_path) as stack:       # a test with ``transactional_db``: what it commits, the processes see
        stack.url                            # http://127.0.0.1:PORT
        stack.fake.set_rules(...)            # the models, a FakeModelServer in this process
        stack.kill_worker("turns")           # kill -9, with everything it started
        stack.start_worker("turns")

The processes are described by ``config.embedded.apps``, the same as under ``manage.py up``, and die with the tests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from django.conf import settings
from django.db import connection

from config.embedded.apps import Address, specs
from config.embedded.network import LOOPBACK, free_port
from config.embedded.process import Child, ChildSpec
from config.embedded.state import DataDir
from tests.support.fake_openai import FakeModelServer

START_TIMEOUT_S = 60.0
LOG_TAIL = 4000  # characters of a log in an error message
WORKERS = ("turns", "control", "index")


class LiveStack:
    """``model`` is the default model (see ``fake_openai.MODELS``); ``env`` overrides settings of the processes."""

    def __init__(self, folder: Path, *, model: str = "fake", env: Mapping[str, str] | None = None) -> None:
        self.address = Address(LOOPBACK, free_port())
        self.url = self.address.url
        self.fake = FakeModelServer()
        self._data = DataDir(folder)
        self._model = model
        self._env = dict(env or {})
        self._specs: dict[str, ChildSpec] = {}
        self._children: dict[str, Child] = {}

    def __enter__(self) -> Self:
        self._data.create()
        self.fake.__enter__()
        try:
            described = specs(self._data, self.address, index_processes=1, env=self._environment())
            self._specs = {spec.name: spec for spec in described}
            for name in self._specs:
                self._start(name)
            for name in self._specs:
                self._wait_healthy(name)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Killed rather than asked: nothing here is worth keeping, and a test that failed may have left them hanging."""
        for child in self._children.values():
            child.end()
        self._children.clear()
        self.fake.__exit__(kind, error, trace)

    def start_worker(self, queue: str) -> None:
        """Start a process that was killed (any of ``WORKERS``, "web" or "beat") and wait until it works."""
        self._start(queue)
        self._wait_healthy(queue)

    def kill_worker(self, queue: str) -> None:
        """``kill -9`` of the process and its group; returns when it is gone."""
        self._children.pop(queue).end()

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def log(self, name: str) -> str:
        """What a process has written so far."""
        path = self._specs[name].log
        return path.read_text(errors="replace") if path.exists() else ""

    def _start(self, name: str) -> None:
        if name in self._children:
            raise RuntimeError(f"{name} is running already")
        self._children[name] = Child(self._specs[name])

    def _wait_healthy(self, name: str) -> None:
        child, deadline = self._children[name], time.monotonic() + START_TIMEOUT_S
        while not child.spec.healthy(child.pid):
            if child.has_ended() or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{self.log(name)[-LOG_TAIL:]}")
            time.sleep(0.05)

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
