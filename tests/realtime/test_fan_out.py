"""One read for all watchers, bounded outboxes, live text and presence."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from django.db.backends.signals import connection_created

from knowledge.models import KnowledgePack
from realtime import frames, limits, nudge
from realtime.db import query
from realtime.frames import Close, Frame
from realtime.groups import stream_group
from realtime.outbox import Outbox
from tests.realtime.live import LiveServer, append, append_aside, append_turn, logged
from tests.support.ws_client import LiveClient

pytestmark = pytest.mark.django_db(transaction=True)


@asynccontextmanager
async def watchers(server: LiveServer, pack: KnowledgePack, key: str, count: int) -> AsyncIterator[list[LiveClient]]:
    clients = [LiveClient(server.pack_url(pack), key=key, last_seq=0) for _ in range(count)]
    await asyncio.gather(*(client.connect() for client in clients))
    try:
        yield clients
    finally:
        await asyncio.gather(*(client.close() for client in clients))


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every statement that the server's database threads execute."""
    seen: list[str] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if threading.current_thread().name.startswith("realtime-db"):
            seen.append(sql)
        return execute(sql, params, many, context)

    def watch(connection: Any, **_: Any) -> None:
        if record not in connection.execute_wrappers:
            connection.execute_wrappers.append(record)

    connection_created.connect(watch)
    yield seen
    connection_created.disconnect(watch)


@pytest.mark.parametrize("count", [1, 50])
async def test_an_event_costs_one_read_however_many_watch(
    server: LiveServer, pack: KnowledgePack, key: str, statements: list[str], count: int
) -> None:
    async with watchers(server, pack, key, count) as clients:
        await asyncio.sleep(0.3)
        statements.clear()
        for seq in range(1, 6):
            await append_aside(pack, "one more")
            await asyncio.gather(*(client.reach(seq) for client in clients))
        reads = [sql for sql in statements if "knowledge_packevent" in sql]
    assert len(reads) == 5


async def test_a_burst_costs_fewer_reads_than_events(
    server: LiveServer, pack: KnowledgePack, key: str, statements: list[str]
) -> None:
    async with watchers(server, pack, key, 3) as clients:
        statements.clear()
        await append_aside(pack, *(["x"] * 200))
        await asyncio.gather(*(client.reach(200) for client in clients))
        reads = [sql for sql in statements if "knowledge_packevent" in sql]
    assert len(reads) <= 2


async def test_a_slow_reader_is_dropped_and_resumes_while_others_read_on(
    server: LiveServer, pack: KnowledgePack, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OUTBOX_FRAMES", 20)
    monkeypatch.setattr(limits, "CLOSE_S", 0.3)
    slow = LiveClient(server.pack_url(pack), key=key, last_seq=0, max_queue=1)
    async with slow, LiveClient(server.pack_url(pack), key=key, last_seq=0) as quick:
        await slow.connect()
        await quick.connect()
        for seq in range(1, 101):  # 20 MB: more than the kernel's buffers and the outbox hold together
            await query(append, pack, "x" * 200_000)
            await quick.reach(seq)
        code = await slow.closed()
        assert code in {Close.TOO_SLOW, 1006}
        assert slow.last_seq is not None
        assert slow.last_seq < 100
        await slow.connect()
        await slow.reach(100)
        assert list(slow.rows) == list(quick.rows) == [seq for seq, _, _ in await query(logged, pack)]


async def test_an_outbox_over_its_bounds_is_closed_and_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTBOX_FRAMES", 3)
    outbox = Outbox()
    outbox.preload([frames.replay(5), *(Frame("x", seq) for seq in range(1, 6))], 5)
    for seq in range(4, 9):
        outbox.put(Frame("x", seq))
    before = outbox.code
    outbox.put(Frame("x", 9))
    assert (before, outbox.code) == (None, Close.TOO_SLOW)
    assert not outbox._frames


async def test_an_outbox_counts_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTBOX_BYTES", 10)
    outbox = Outbox()
    outbox.put(Frame("ä" * 5, 1))
    before = outbox.code
    outbox.put(Frame("a", 2))
    assert (before, outbox.code) == (None, Close.TOO_SLOW)


def publish(pack: KnowledgePack, turn: str, so_far: str, text: str, attempt: int = 1) -> None:
    group = stream_group(KnowledgePack, pack.pk)
    nudge.publish_delta(group, turn=turn, attempt=attempt, start=len(so_far), text=text, partial=so_far + text)


async def test_deltas_are_passed_on_and_whoever_joins_late_gets_the_text_so_far(
    server: LiveServer, pack: KnowledgePack, key: str
) -> None:
    turn = str(uuid4())
    await query(append_turn, pack, "started", turn)
    async with watchers(server, pack, key, 1) as (early,):
        await query(publish, pack, turn, "", "Yes, ")
        await query(publish, pack, turn, "Yes, ", "because")
        first, second = await early.next("delta"), await early.next("delta")
        async with LiveClient(server.pack_url(pack), key=key) as late:
            await late.connect()
            joined = await late.next("delta")
    assert first == {"t": "delta", "turn": turn, "attempt": 1, "from": 0, "text": "Yes, "}
    assert (second["from"], second["text"]) == (5, "because")
    assert (joined["from"], joined["text"]) == (0, "Yes, because")


async def test_a_process_that_joins_in_mid_turn_takes_the_text_from_the_broker(
    server: LiveServer, pack: KnowledgePack, key: str
) -> None:
    turn = str(uuid4())
    await query(append_turn, pack, "started", turn)
    await query(publish, pack, turn, "", "Written before anybody watched")
    async with watchers(server, pack, key, 1) as (client,):
        delta = await client.next("delta")
    assert (delta["from"], delta["text"]) == (0, "Written before anybody watched")


async def test_a_lost_delta_is_made_good(server: LiveServer, pack: KnowledgePack, key: str) -> None:
    turn = str(uuid4())
    await query(append_turn, pack, "started", turn)
    async with watchers(server, pack, key, 1) as (client,):
        await query(publish, pack, turn, "", "One ")
        await client.next("delta")
        await query(publish, pack, turn, "One two ", "three")
        delta = await client.next("delta")
    assert (delta["from"], delta["text"]) == (0, "One two three")


async def test_text_of_an_ended_turn_or_attempt_is_dropped(server: LiveServer, pack: KnowledgePack, key: str) -> None:
    turn = str(uuid4())
    await query(append_turn, pack, "started", turn)
    await query(append_turn, pack, "retrying", turn)
    await query(append_turn, pack, "started", turn, 2)
    async with watchers(server, pack, key, 1) as (client,):
        await query(publish, pack, turn, "", "first attempt")
        await query(publish, pack, turn, "", "second attempt", 2)
        assert (await client.next("delta"))["text"] == "second attempt"
        await query(append_turn, pack, "completed", turn, 2)
        await client.reach(4)
        await query(publish, pack, turn, "second attempt", " too late", 2)
        await query(append, pack, "afterwards")
        await client.reach(5)
    assert [frame["text"] for frame in client.frames if frame["t"] == "delta"] == ["second attempt"]


async def test_a_delta_waits_for_the_start_of_its_turn(server: LiveServer, pack: KnowledgePack, key: str) -> None:
    turn = str(uuid4())
    async with watchers(server, pack, key, 1) as (client,):
        await query(append_turn, pack, "started", turn)
        await query(publish, pack, turn, "", "At once")
        await client.next("delta")
    kinds = [frame["t"] for frame in client.frames]
    assert kinds.index("event") < kinds.index("delta")


async def test_presence_counts_users_and_follows_them(
    server: LiveServer, pack: KnowledgePack, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PRESENCE_S", 0.1)
    async with watchers(server, pack, key, 2) as (client, _):
        assert (await client.next("presence"))["watching"] == 1
        key_name = f"quorum:presence:{stream_group(KnowledgePack, pack.pk)}"
        another_process = f"{uuid4().hex}:{uuid4().hex}"
        await query(nudge.client().zadd, key_name, {another_process: 2**40})
        async with LiveClient(server.pack_url(pack), key=key) as third:
            await third.connect()
            assert (await client.next("presence"))["watching"] == 2
