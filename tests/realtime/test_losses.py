"""What is lost on the way is not lost: cut sockets, killed broker connections, a flushed broker, hints that never came."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from knowledge.models import KnowledgePack
from realtime import limits, nudge
from realtime.db import query
from tests.realtime.live import LiveServer, append, append_quietly, logged
from tests.support.ws_client import LiveClient

pytestmark = pytest.mark.django_db(transaction=True)


def received(client: LiveClient) -> list[tuple[int, str, Any]]:
    return [(row["seq"], row["type"], row["data"]) for row in client.rows.values()]


async def write_slowly(pack: KnowledgePack, count: int, pause: float = 0.01) -> None:
    for number in range(count):
        await query(append, pack, f"event {number}")
        await asyncio.sleep(pause)


async def watch_with_cuts(client: LiveClient, head: int, chance: random.Random) -> None:
    """Reconnect at random moments, in mid-handshake and in mid-replay too, until event ``head`` has come."""
    while (client.last_seq or 0) < head:
        try:
            async with asyncio.timeout(chance.random() * 0.3):
                await client.connect()
                await client.reach(head)
        except (TimeoutError, ConnectionClosed, OSError):
            if client.socket is not None:
                client.cut()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_reconnecting_at_random_moments_ends_with_exactly_the_log(
    server: LiveServer, pack: KnowledgePack, key: str, seed: int
):
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:
        clients = [LiveClient(server.pack_url(pack), key=key, last_seq=0) for _ in range(4)]
        for client in clients:
            await stack.enter_async_context(client)
        await asyncio.gather(write_slowly(pack, 150), *(watch_with_cuts(client, 150, chance) for client in clients))
    rows = await query(logged, pack)
    assert len(rows) == 150
    assert [received(client) for client in clients] == [rows] * 4
    assert min(client.connections for client in clients) > 2


async def test_killing_the_brokers_connections_loses_nothing(server: LiveServer, pack: KnowledgePack, key: str):
    async with LiveClient(server.pack_url(pack), key=key, last_seq=0) as client:
        await client.connect()
        writing = asyncio.create_task(write_slowly(pack, 60))
        for kind in ("pubsub", "normal", "pubsub"):
            await asyncio.sleep(0.15)
            await asyncio.to_thread(nudge.client().execute_command, "CLIENT", "KILL", "TYPE", kind)
        await writing
        await client.reach(60)
        assert received(client) == await query(logged, pack)


async def test_flushing_the_broker_loses_nothing(server: LiveServer, pack: KnowledgePack, key: str):
    async with LiveClient(server.pack_url(pack), key=key, last_seq=0) as client:
        await client.connect()
        writing = asyncio.create_task(write_slowly(pack, 40))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(nudge.client().flushdb)
        await writing
        await client.reach(40)
        assert received(client) == await query(logged, pack)


async def test_a_hint_that_was_given_up_is_found_by_the_head_check(
    server: LiveServer, pack: KnowledgePack, key: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "HEAD_CHECK_S", 0.5)
    async with LiveClient(server.pack_url(pack), key=key, last_seq=0) as client:
        await client.connect()
        await query(append_quietly, pack, "nobody was told")
        await client.reach(1, patience=limits.HEAD_CHECK_S + 2 * limits.PULSE_S + 2)


async def test_a_hanging_publisher_does_not_lose_the_next_events(server: LiveServer, pack: KnowledgePack, key: str):
    async with LiveClient(server.pack_url(pack), key=key, last_seq=0) as client:
        await client.connect()
        await query(append_quietly, pack, "lost hint")
        await query(append, pack, "hinted")
        await client.reach(2, patience=2)
        assert received(client) == await query(logged, pack)
