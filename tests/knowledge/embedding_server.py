"""An OpenAI-compatible embeddings server on loopback that gives every text a vector of its own and fails on demand."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        owner: EmbeddingServer = server.owner
        status, payload = owner.answer(body, self.headers["Authorization"])
        data = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


class EmbeddingServer:
    """``refuse(texts)`` may give a status to answer instead; ``width`` is the dimension of the vectors."""

    def __init__(self, width: int = 8) -> None:
        self.width = width
        self.delay = 0.0
        self.refuse: Callable[[Sequence[str]], int] = lambda _texts: 0
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.owner = self  # type: ignore[attr-defined]  # ours
        self._thread = threading.Thread(target=self._http.serve_forever)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        time.sleep(self.delay)
        self.requests.append(body)
        self.keys.append(key)
        if status := self.refuse(body["input"]):
            return status, {"error": {"message": "sk-secret is no good", "type": "test"}}
        rows = [
            {"object": "embedding", "index": i, "embedding": self.vector(body["model"], text)}
            for i, text in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return 200, {"object": "list", "model": body["model"], "data": rows, "usage": usage}

    def vector(self, model: str, text: str) -> list[float]:
        digest = hashlib.sha256(f"{model}\x00{text}".encode()).digest()
        return [digest[i % len(digest)] - 127.5 for i in range(self.width)]

    @property
    def texts(self) -> list[str]:
        return [text for body in self.requests for text in body["input"]]
