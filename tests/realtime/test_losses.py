"""What is lost on the way is not lost: cut sockets, killed broker connections, a flushed broker, hints that never came."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from knowledge.models import KnowledgePack
from realtime import limits
from realtime.db import query
from tests.realtime.broker import Broker
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
) -> None:
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


async def test_killing_the_brokers_connections_loses_nothing(
    broker: Broker, server: LiveServer, pack: KnowledgePack, key: str
) -> None:
    async with LiveClient(server.pack_url(pack), key=key, last_seq=0) as client:
        await client.connect()
        writing = asyncio.create_task(write_slowly(pack, 60))
        for kind in ("pubsub", "normal", "pubsub"):
            await asyncio.sleep(0.15)
            await asyncio.to_thread(broker.command, "CLIENT", "KILL", "TYPE", kind)
        await writing
        await client.reach(60)
        assert received(client) == await query(logged, pack)


async def test_flushing_the_broker_loses_nothing(
    broker: Broker, server: LiveServer, pack: KnowledgePack, key: str
) -> None:
    async with LiveClient(server.pack_url(pack), key=key, last_seq=0) as client:
        await client.connect()
        writing = asyncio.create_task(write_slowly(pack, 40))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(broker.command, "FLUSHALL")
        await writing
        await client.reach(40)
        assert received(client) == await query(logged, pack)


async def test_events_arrive_while_the_broker_is_down_and_at_once_when_it_is_back(
    broker: Broker, server: LiveServer, pack: KnowledgePack, key: str
) -> None:
    async with LiveClient(server.pack_url(pack), key=key, last_seq=0) as client:
        await client.connect()
        await asyncio.to_thread(broker.stop)
        await query(append, pack, "unheard")
        await client.reach(1, patience=8)
        await asyncio.to_thread(broker.start)
        await hints_arrive(server)
        await quickly_told(pack, client)


async def test_a_frozen_broker_delays_but_loses_nothing(
    broker: Broker, server: LiveServer, pack: KnowledgePack, key: str
) -> None:
    async with LiveClient(server.pack_url(pack), key=key, last_seq=0) as client:
        await client.connect()
        broker.freeze()
        await query(append, pack, "unheard")
        await client.reach(1, patience=8)
        broker.thaw()
        await hints_arrive(server)
        await quickly_told(pack, client)


async def test_one_can_join_while_the_broker_is_down(
    broker: Broker, server: LiveServer, pack: KnowledgePack, key: str
) -> None:
    await asyncio.to_thread(broker.stop)
    async with LiveClient(server.pack_url(pack), key=key, last_seq=0) as client:
        await client.connect()
        await query(append, pack, "unheard")
        await client.reach(1, patience=8)
        await asyncio.to_thread(broker.start)
        await hints_arrive(server)
        async with asyncio.timeout(5):
            while not all(reader.subscription.confirmed for reader in server.feed()._readers.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await quickly_told(pack, client)


async def test_a_hint_that_was_given_up_is_found_by_the_head_check(
    server: LiveServer, pack: KnowledgePack, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_CHECK_S", 0.5)
    async with LiveClient(server.pack_url(pack), key=key, last_seq=0) as client:
        await client.connect()
        await query(append_quietly, pack, "nobody was told")
        await client.reach(1, patience=5)


async def test_a_later_hint_brings_what_an_earlier_one_did_not(
    server: LiveServer, pack: KnowledgePack, key: str
) -> None:
    async with LiveClient(server.pack_url(pack), key=key, last_seq=0) as client:
        await client.connect()
        await query(append_quietly, pack, "nobody was told")
        await query(append, pack, "hinted")
        await client.reach(2, patience=2)
        assert received(client) == await query(logged, pack)


async def hints_arrive(server: LiveServer) -> None:
    current = await asyncio.to_thread(server.feed)
    async with asyncio.timeout(10):
        while not current.hints_arrive:  # noqa: ASYNC110  # it has no reason to tell us
            await asyncio.sleep(0.02)


async def quickly_told(pack: KnowledgePack, client: LiveClient) -> None:
    """Sooner than any head check, so by a hint."""
    for _ in range(5):
        await query(append, pack, "heard")
        await client.reach((client.last_seq or 0) + 1, patience=0.9)
    assert received(client) == await query(logged, pack)
