"""A receiver of webhooks on the loopback, over real HTTP: remembers what came, and answers as it is told."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Got:
    path: str
    headers: dict[str, str]  # names in small letters
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        owner = self.server.owner
        body = self.rfile.read(int(self.headers["Content-Length"]))
        owner.got.append(Got(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        owner.at_once = max(owner.at_once, owner.enter())
        time.sleep(owner.delay_s)
        owner.leave()
        self.send_response(owner.status)
        for name, value in owner.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(owner.body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: Receiver


class Receiver:
    def __init__(self) -> None:
        self.got: list[Got] = []
        self.status, self.body, self.delay_s = 204, b"", 0.0
        self.headers: dict[str, str] = {}
        self.at_once = 0
        self._here, self._lock = 0, threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/hook"

    @property
    def ids(self) -> list[str]:
        return [one.headers["webhook-id"] for one in self.got]

    def enter(self) -> int:
        with self._lock:
            self._here += 1
            return self._here

    def leave(self) -> None:
        with self._lock:
            self._here -= 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
