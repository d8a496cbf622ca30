"""Server-Sent Events: the same frames over plain HTTP, without holding a database connection, and gone at shutdown."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as project_settings
from django.test import Client

from accounts.models import User
from knowledge.models import KnowledgePack
from realtime import limits
from realtime.api import events_after
from realtime.db import query
from tests.realtime.live import LiveServer, append

pytestmark = pytest.mark.django_db(transaction=True)


class EventStream:
    """The open response of one GET, read message by message."""

    def __init__(self, reader: asyncio.StreamReader, status: int, headers: str) -> None:
        self._reader, self.status, self.headers = reader, status, headers

    async def lines(self) -> list[str]:
        """The lines of the next message. Chunk sizes stand between, which no line of ours can be mistaken for."""
        lines: list[str] = []
        async with asyncio.timeout(15):
            while True:
                raw = await self._reader.readline()
                if not raw:
                    raise EOFError
                line = raw.decode().rstrip("\r\n")
                if line and not re.fullmatch(r"[0-9a-f]+", line):
                    lines.append(line)
                elif not line and lines:
                    return lines

    async def frame(self) -> dict[str, Any]:
        while True:
            for line in await self.lines():
                if line.startswith("data: "):
                    found: dict[str, Any] = json.loads(line.removeprefix("data: "))
                    return found

    async def event(self) -> dict[str, Any]:
        while (frame := await self.frame())["t"] != "event":
            continue
        return frame


@asynccontextmanager
async def get(url: str, **headers: str) -> AsyncIterator[EventStream]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {parts.netloc}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    try:
        yield EventStream(reader, int(head.split()[1]), head.lower())
    finally:
        writer.close()
        await writer.wait_closed()


def stream_url(server: LiveServer, pack: KnowledgePack) -> str:
    return f"{server.url}/live/knowledge-packs/{pack.id}"


async def test_the_stream_begins_with_a_snapshot_and_goes_on_with_events(
    server: LiveServer, pack: KnowledgePack, key: str
) -> None:
    await query(append, pack, "one")
    async with get(stream_url(server, pack), Authorization=f"Bearer {key}") as stream:
        assert "content-type: text/event-stream" in stream.headers
        welcome = await stream.frame()
        await query(append, pack, "two")
        lines = await stream.lines()
        while not lines[0].startswith("id: 2"):
            lines = await stream.lines()
    assert (welcome["mode"], welcome["head_seq"]) == ("snapshot", 1)
    assert json.loads(lines[1].removeprefix("data: "))["data"] == {"text": "two", "actor": None}


async def test_last_event_id_resumes(server: LiveServer, pack: KnowledgePack, key: str) -> None:
    await query(append, pack, "one", "two", "three")
    headers = {"Authorization": f"Bearer {key}", "Last-Event-ID": "1"}
    async with get(stream_url(server, pack), **headers) as stream:
        assert (await stream.frame())["mode"] == "replay"
        assert [(await stream.event())["seq"] for _ in range(2)] == [2, 3]
    async with get(stream_url(server, pack) + "?after=2", Authorization=f"Bearer {key}") as stream:
        assert (await stream.event())["seq"] == 3


async def test_refusals_are_ordinary_responses(
    server: LiveServer, pack: KnowledgePack, key: str, other_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = stream_url(server, pack)

    async def status(url: str, **headers: str) -> int:
        async with get(url, **headers) as stream:
            return stream.status

    assert await status(url) == 401
    assert await status(url, Authorization="Bearer qk_wrong") == 401
    assert await status(url, Authorization=f"Bearer {other_key}") == 404
    assert await status(f"{url}?after=x", Authorization=f"Bearer {key}") == 400
    monkeypatch.setattr(limits, "SOCKETS_PER_USER", 0)
    assert await status(url, Authorization=f"Bearer {key}") == 429


async def test_a_browser_streams_with_its_cookie(server: LiveServer, pack: KnowledgePack, user: User) -> None:
    browser = Client()
    await query(browser.force_login, user)
    name = project_settings.SESSION_COOKIE_NAME
    cookie = f"{name}={browser.cookies[name].value}"
    async with get(stream_url(server, pack), Cookie=cookie) as stream:
        assert (await stream.frame())["t"] == "welcome"
    async with get(stream_url(server, pack), Cookie=cookie, Origin="https://evil.example") as stream:
        assert stream.status == 403


async def test_quiet_streams_send_comments(
    server: LiveServer, pack: KnowledgePack, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SSE_COMMENT_S", 0.2)
    async with get(stream_url(server, pack), Authorization=f"Bearer {key}") as stream:
        async with asyncio.timeout(10):
            while not (await stream.lines())[0].startswith(":"):
                continue


async def test_open_streams_hold_no_database_connection(
    server: LiveServer, pack: KnowledgePack, user: User, key: str
) -> None:
    """More streams than the pool has connections, through all middleware, and the pool still serves."""
    browser = Client()
    await query(browser.force_login, user)
    name = project_settings.SESSION_COOKIE_NAME
    cookie = f"{name}={browser.cookies[name].value}"
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(get(stream_url(server, pack), Cookie=cookie))
            for _ in range(project_settings.DATABASE_POOL_SIZE + 5)
        ]
        for stream in streams:
            assert (await stream.frame())["t"] == "welcome"
        await asyncio.wait_for(asyncio.gather(*(query(append, pack, "served") for _ in range(4))), 5)
        assert (await streams[-1].event())["seq"] == 1


async def test_leaving_gives_the_place_back(server: LiveServer, pack: KnowledgePack, key: str) -> None:
    async with get(stream_url(server, pack), Authorization=f"Bearer {key}") as stream:
        await stream.frame()
        assert len(server.feed()._users) == 1
    async with asyncio.timeout(5):
        while server.feed()._users:  # noqa: ASYNC110  # the server has no reason to tell us
            await asyncio.sleep(0.05)


SERVER = """
import uvicorn
from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
http = get_asgi_application()
from config.sockets import websocket
from realtime.lifespan import lifespan
app = ProtocolTypeRouter({"http": http, "websocket": websocket, "lifespan": lifespan})
uvicorn.run(app, host="127.0.0.1", port=0, timeout_graceful_shutdown=5)
"""


async def test_a_terminated_server_ends_its_streams_at_once(pack: KnowledgePack, key: str) -> None:
    database = project_settings.DATABASES["default"]
    url = "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    # The urlconf of these tests mounts the stream; settings take it from nowhere else, so it is set in the process itself.
    script = 'from django.conf import settings\nsettings.ROOT_URLCONF = "tests.realtime.urls"\n' + SERVER
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env=environment, stderr=subprocess.PIPE, cwd=project_settings.BASE_DIR
    )
    assert process.stderr is not None
    try:
        port = None
        async with asyncio.timeout(90):
            while port is None:
                port = re.search(rb"http://127.0.0.1:(\d+)", await process.stderr.readline())
        url = f"http://127.0.0.1:{int(port[1])}/live/knowledge-packs/{pack.id}"
        async with get(url, Authorization=f"Bearer {key}") as stream:
            assert (await stream.frame())["t"] == "welcome"
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            while (frame := await stream.frame())["t"] != "close":
                continue
        await asyncio.wait_for(process.communicate(), 5)
        assert frame["code"] == 1012
        assert time.monotonic() - began < 3
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_the_log_is_listed_in_pages(pack: KnowledgePack, transactional_db: None) -> None:
    await query(append, pack, "one", "two", "three")
    first = await query(events_after, pack, 0, 2)
    rest = await query(events_after, pack, first["next"], 2)
    assert [event["seq"] for event in first["results"]] == [1, 2]
    assert (first["next"], rest["next"]) == (2, 3)
    assert set(rest["results"][0]) == {"seq", "type", "at", "data"}
    assert await query(events_after, pack, 3, 2) == {"next": 3, "results": []}
