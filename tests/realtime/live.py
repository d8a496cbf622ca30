"""What the live tests share: a real uvicorn in a thread of this process, on the test database, and a log to write to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvicorn
from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.db import connection, transaction
from django.utils import timezone

from config.sockets import websocket
from knowledge.models import KnowledgePack
from realtime import feed, log
from realtime.lifespan import lifespan

T = TypeVar("T")


class LiveServer:
    """uvicorn on a free port. Being in this process, it sees the limits that a test sets, and the test sees its feed."""

    def __init__(self) -> None:
        app = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": websocket, "lifespan": lifespan})
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=5)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="live-server")
        self.loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._thread.start()
        wait_for(lambda: self._server.started)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive(), "the server did not stop"

    def pack_url(self, pack: KnowledgePack) -> str:
        return f"{self.url}/ws/knowledge-packs/{pack.id}"

    def on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's event loop."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def feed(self) -> feed.Feed:
        async def current() -> feed.Feed:
            return feed.current()

        return self.on_loop(current())

    def _run(self) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            await self._server.serve()

        asyncio.run(serve())


def wait_for(condition: Callable[[], bool], patience: float = 10.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def append(pack: KnowledgePack, *texts: str) -> None:
    """Append one ``entry.noted`` event for each text, in one transaction."""
    with transaction.atomic():
        log.append(pack, *(("entry.noted", {"text": text}) for text in texts))


async def append_aside(pack: KnowledgePack, *texts: str) -> None:
    """``append`` on a thread that is none of the server's, which gives its connection back: the tests' database cannot be dropped
    while an idle thread holds one."""

    def run() -> None:
        try:
            append(pack, *texts)
        finally:
            connection.close()

    await asyncio.to_thread(run)


def append_turn(pack: KnowledgePack, verb: str, turn: str, attempt: int = 1) -> None:
    with transaction.atomic():
        log.append(pack, (f"turn.{verb}", {"turn": turn, "attempt": attempt}))


def logged(pack: KnowledgePack) -> list[tuple[int, str, Any]]:
    """The log itself, as the database has it."""
    return list(pack.events.order_by("seq").values_list("seq", "type", "payload"))


def append_quietly(pack: KnowledgePack, text: str) -> None:
    """Append an event whose hint is lost: what a publisher does whose broker does not answer."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE knowledge_knowledgepack SET last_seq = last_seq + 1 WHERE id = %s RETURNING last_seq", [pack.pk]
        )
        seq = cursor.fetchone()[0]
        pack.events.create(seq=seq, type="entry.noted", payload={"text": text}, created_at=timezone.now())
