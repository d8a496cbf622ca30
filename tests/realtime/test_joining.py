"""Joining a stream that grows meanwhile: whoever joins, whenever, ends with every event exactly once.

The reader under test is the real one on a real log. What is controlled is the schedule: an event is committed just before or
just after each of the database calls that joining makes, for every place that a newcomer can stand at.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from accounts.models import User
from knowledge.consumers import KnowledgePacks
from knowledge.models import KnowledgePack
from realtime import feed, limits, reader, sources
from realtime.db import query
from realtime.outbox import Outbox
from realtime.reader import StreamReader
from tests.realtime.live import append, append_quietly

pytestmark = pytest.mark.django_db(transaction=True)
Query = Callable[..., Awaitable[Any]]


def numbers(outbox: Outbox, last_seq: int | None) -> list[int]:
    """The events that the outbox's reader knows in the end: those it had or was given as a snapshot, then those it was sent."""
    frames = [json.loads(frame.text) for frame in outbox._frames]
    assert [frame["t"] for frame in frames].count("welcome") == 1
    welcome = frames[0]
    had: int = welcome["head_seq"] if welcome["mode"] == "snapshot" else last_seq or 0
    return [*range(1, had + 1), *(frame["seq"] for frame in frames if frame["t"] == "event")]


async def settled(stream: StreamReader, head: int) -> None:
    async with asyncio.timeout(10):
        while stream.known < head:  # noqa: ASYNC110  # the reader has no reason to announce where it is
            await asyncio.sleep(0.005)


async def joined(current: feed.Feed, pack: KnowledgePack, last_seq: int | None) -> tuple[StreamReader, Outbox]:
    stream, outbox = current.hold(KnowledgePacks(), pack.id), Outbox()
    await stream.join(outbox, last_seq)
    return stream, outbox


def disturbed(point: int, pack: KnowledgePack, write: Callable[..., Any]) -> Query:
    """The reader's ``query``, but an event is committed at the given point: before (even) or after (odd) its n-th call."""
    calls = itertools.count()

    async def schedule(function: Any, *args: Any) -> Any:
        call = next(calls)
        if point == 2 * call:
            await query(write, pack, "in between")
        result = await query(function, *args)
        if point == 2 * call + 1:
            await query(write, pack, "in between")
        return result

    return schedule


@pytest.mark.parametrize("write", [append, append_quietly], ids=["hinted", "hint lost"])
@pytest.mark.parametrize("point", range(8))
async def test_an_event_committed_while_joining_arrives_once(
    here: feed.Feed, user: User, monkeypatch: pytest.MonkeyPatch, point: int, write: Callable[..., Any]
) -> None:
    for last_seq in (None, *range(6)):
        pack = await query(KnowledgePack.objects.create, owner=user, name="Growing")
        await query(append, pack, "1", "2", "3", "4")
        monkeypatch.setattr(reader, "query", disturbed(point, pack, write))
        stream, outbox = await joined(here, pack, last_seq)
        monkeypatch.setattr(reader, "query", query)
        await query(append, pack, "last")
        head = await query(KnowledgePack.objects.values_list("last_seq", flat=True).get, pk=pack.pk)
        await settled(stream, head)
        assert numbers(outbox, last_seq) == list(range(1, head + 1))
        assert ('"mode":"replay"' in outbox._frames[0].text) or last_seq is None or last_seq > 4
        here.release(stream)


async def test_joining_at_any_moment_of_a_busy_log(here: feed.Feed, pack: KnowledgePack) -> None:
    """Eighty watchers with random places join while four writers append; each ends with exactly the log."""
    chance = random.Random(7)
    per_writer = 30

    async def write() -> None:
        for number in range(per_writer):
            await query(append, pack, *(["x"] * chance.randint(1, 3) if number % 2 else ["x"]))

    async def watch() -> tuple[int | None, StreamReader, Outbox]:
        await asyncio.sleep(chance.random())
        last_seq = chance.choice([None, 0, chance.randint(0, 60)])
        return last_seq, *await joined(here, pack, last_seq)

    await query(append, pack, *(["x"] * 60))
    results = await asyncio.gather(*(watch() for _ in range(80)), *(write() for _ in range(4)))
    head = await query(KnowledgePack.objects.values_list("last_seq", flat=True).get, pk=pack.pk)
    for last_seq, stream, outbox in (result for result in results if result is not None):
        await settled(stream, head)
        assert numbers(outbox, last_seq) == list(range(1, head + 1))


async def test_newcomers_within_two_seconds_share_a_snapshot(
    here: feed.Feed, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots: list[str] = []
    original = sources.read_snapshot

    def counted(*args: Any) -> Any:
        snapshots.append("read")
        return original(*args)

    monkeypatch.setattr(reader, "read_snapshot", counted)
    await query(append, pack, "one")
    await asyncio.gather(*(joined(here, pack, None) for _ in range(30)))
    await query(append, pack, "two")
    stream, late = await joined(here, pack, None)
    await settled(stream, 2)
    assert numbers(late, None) == [1, 2]
    assert snapshots == ["read"]


async def test_a_replay_reaches_further_back_than_the_ring(
    here: feed.Feed, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, _ = await joined(here, pack, None)
    await query(append, pack, *(["x"] * 20))
    await settled(stream, 20)
    stream._ring.clear()
    await query(append, pack, "x")
    await settled(stream, 21)
    _, outbox = await joined(here, pack, 2)
    assert numbers(outbox, 2) == list(range(1, 22))


async def test_a_stream_is_watched_on_for_a_while_after_its_last_watcher(
    here: feed.Feed, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINGER_S", 0.1)
    first, _ = await joined(here, pack, None)
    here.release(first)
    assert here.hold(KnowledgePacks(), pack.id) is first
    here.release(first)
    await asyncio.sleep(0.3)
    second = here.hold(KnowledgePacks(), pack.id)
    assert second is not first
    here.release(second)
