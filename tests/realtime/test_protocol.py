"""The WebSocket protocol over a real server: welcome, events, and every way to be refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from accounts.models import User
from knowledge.models import KnowledgePack
from realtime import limits
from realtime.db import query
from tests.realtime.live import LiveServer, append, logged
from tests.support.ws_client import LiveClient

pytestmark = pytest.mark.django_db(transaction=True)

BAD_FRAMES: list[Any] = [
    "not json",
    "[]",
    '"hello"',
    "{}",
    b'{"t":"ping"}',
    {"t": "subscribe"},
    {"t": "hello"},
    {"t": "hello", "v": 2},
    {"t": "hello", "v": True},
    {"t": "hello", "v": 1, "last_seq": -1},
    {"t": "hello", "v": 1, "last_seq": True},
    {"t": "hello", "v": 1, "last_seq": 1.5},
    {"t": "hello", "v": 1, "last_seq": "3"},
    {"t": "hello", "v": 1, "last_seq": 2**63},
    {"t": "hello", "v": 1, "ticket": 5},
    {"t": "ping", "padding": "x" * 4096},
    "[" * 4000,
]


@pytest.fixture
def client(server: LiveServer, pack: KnowledgePack, key: str) -> LiveClient:
    return LiveClient(server.pack_url(pack), key=key)


async def test_a_newcomer_gets_a_snapshot_and_then_events(client: LiveClient, pack: KnowledgePack) -> None:
    await query(append, pack, "before")
    async with client:
        welcome = await client.connect()
        await query(append, pack, "after")
        event = await client.next("event")
    assert (welcome["mode"], welcome["head_seq"]) == ("snapshot", 1)
    assert welcome["snapshot"]["pack"]["id"] == str(pack.id)
    assert {name: event[name] for name in ("seq", "type", "data")} == {
        "seq": 2,
        "type": "entry.noted",
        "data": {"text": "after", "actor": None},
    }
    assert event["at"].endswith("Z")


async def test_who_is_little_behind_gets_a_replay(client: LiveClient, pack: KnowledgePack) -> None:
    await query(append, pack, *(str(number) for number in range(300)))
    client.last_seq = 0
    async with client:
        welcome = await client.connect()
        await client.reach(300)
    assert welcome == {"t": "welcome", "head_seq": 300, "mode": "replay"}
    assert [(row["seq"], row["type"], row["data"]) for row in client.rows.values()] == await query(logged, pack)


async def test_who_is_far_behind_gets_a_snapshot(client: LiveClient, pack: KnowledgePack) -> None:
    await query(append, pack, *(str(number) for number in range(301)))
    client.last_seq = 0
    async with client:
        welcome = await client.connect()
    assert (welcome["mode"], welcome["head_seq"]) == ("snapshot", 301)


async def test_who_claims_more_than_there_is_gets_a_snapshot(client: LiveClient, pack: KnowledgePack) -> None:
    await query(append, pack, "one")
    client.last_seq = 7
    async with client:
        welcome = await client.connect()
    assert (welcome["mode"], welcome["head_seq"]) == ("snapshot", 1)


async def test_who_has_everything_gets_nothing(client: LiveClient, pack: KnowledgePack) -> None:
    await query(append, pack, "one")
    client.last_seq = 1
    async with client:
        welcome = await client.connect()
        await client.send({"t": "ping"})
        await client.next("pong")
    assert welcome["mode"] == "replay"
    assert client.rows == {}


async def test_a_ping_is_answered_before_the_hello_too(client: LiveClient) -> None:
    async with client:
        await client.open()
        await client.send({"t": "ping"})
        assert await client.receive() == {"t": "pong"}


async def test_a_bad_frame_closes_with_4400(client: LiveClient) -> None:
    for frame in BAD_FRAMES:
        async with client:
            await client.open()
            await client.send(frame)
            assert await client.closed() == 4400, frame


async def test_a_second_hello_closes_with_4400(client: LiveClient) -> None:
    async with client:
        await client.connect()
        await client.say_hello()
        assert await client.closed() == 4400


async def test_too_many_frames_close_with_4429(client: LiveClient) -> None:
    async with client:
        await client.connect()
        for _ in range(limits.FRAMES_PER_S + 5):
            await client.send({"t": "ping"})
        assert await client.closed() == 4429


async def test_no_hello_closes_with_4408(client: LiveClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HELLO_S", 0.2)
    async with client:
        await client.open()
        assert await client.closed() == 4408


async def test_no_credentials_close_with_4401(server: LiveServer, pack: KnowledgePack) -> None:
    async with LiveClient(server.pack_url(pack)) as client:
        assert await client.refusal() == 4401


async def test_a_bad_key_closes_with_4401(server: LiveServer, pack: KnowledgePack) -> None:
    async with LiveClient(server.pack_url(pack), key="qk_wrong") as client:
        assert await client.refusal() == 4401


async def test_another_users_pack_is_unknown(server: LiveServer, pack: KnowledgePack, other_key: str) -> None:
    async with LiveClient(server.pack_url(pack), key=other_key) as client:
        assert await client.refusal() == 4404


@pytest.mark.parametrize(
    "path", ["knowledge-packs/0199aaaa-0000-7000-8000-000000000000", "knowledge-packs/17", "nonsense"]
)
async def test_what_does_not_exist_is_unknown(server: LiveServer, key: str, path: str) -> None:
    async with LiveClient(f"{server.url}/ws/{path}", key=key) as client:
        assert await client.refusal() == 4404


async def test_a_trailing_slash_is_accepted(server: LiveServer, pack: KnowledgePack, key: str) -> None:
    async with LiveClient(server.pack_url(pack) + "/", key=key) as client:
        assert (await client.connect())["mode"] == "snapshot"


async def test_too_many_sockets_of_one_user_close_with_4429(
    server: LiveServer, pack: KnowledgePack, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SOCKETS_PER_USER", 2)
    clients = [LiveClient(server.pack_url(pack), key=key) for _ in range(3)]
    await clients[0].connect()
    await clients[1].connect()
    assert await clients[2].refusal() == 4429
    await clients[0].close()
    await asyncio.sleep(0.1)
    assert (await clients[2].connect())["t"] == "welcome"
    await asyncio.gather(*(client.close() for client in clients))


async def test_heartbeats_carry_the_head(
    client: LiveClient, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(limits, "PULSE_S", 0.1)
    async with client:
        await client.connect()
        await query(append, pack, "one")
        await client.reach(1)
        assert (await client.next("heartbeat"))["head_seq"] == 1


async def test_losing_access_closes_at_the_next_check(
    client: LiveClient, pack: KnowledgePack, other_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECHECK_S", 0.2)
    async with client:
        await client.connect()
        await query(KnowledgePack.objects.filter(pk=pack.pk).update, owner=other_user)
        assert await client.closed() == 4404


async def test_a_deleted_stream_closes_as_unknown(
    client: LiveClient, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_CHECK_S", 0.2)
    async with client:
        await client.connect()
        await query(KnowledgePack.objects.filter(pk=pack.pk).delete)
        assert await client.closed() == 4404


async def test_a_stopping_server_closes_with_1012(server: LiveServer, pack: KnowledgePack, key: str) -> None:
    async with LiveClient(server.pack_url(pack), key=key) as client:
        await client.connect()
        await asyncio.to_thread(server.stop)
        assert await client.closed() == 1012
