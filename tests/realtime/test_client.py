"""The published Python client: whatever is cut, it ends with the log, and with the state that the server has."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

import clients.quorum_live
from accounts.models import User
from clients.quorum_live import (
    Backoff,
    Council,
    Delta,
    Event,
    LiveStream,
    News,
    OutOfOrder,
    Pack,
    Place,
    Refused,
    Snapshot,
    sse,
)
from knowledge import selectors, services
from knowledge.models import KnowledgePack
from tests.realtime.live import LiveServer, append_aside, logged

FOLDER = Path(clients.quorum_live.__file__).parent
PATIENCE_S = 60.0
END = "The end"

T = TypeVar("T")
live = pytest.mark.django_db(transaction=True)


def quick() -> Backoff:
    return Backoff(first=0.01, longest=0.2)


class Reader:
    """Follows a pack until it has the name that ``end`` gives it, and keeps what it heard."""

    def __init__(self, last_seq: int | None) -> None:
        self.pack, self.heard, self.first = Pack(), dict[int, tuple[str, Any]](), last_seq or 0

    async def read(self, news: AsyncIterator[News]) -> None:
        async for one in news:
            self.pack.apply(one)
            if isinstance(one, Snapshot):
                self.first = one.seq
                self.heard.clear()
            if isinstance(one, Event):
                assert one.seq not in self.heard
                self.heard[one.seq] = (one.type, one.data)
            if self.pack.value and self.pack.value["pack"].get("name") == END:
                return

    def judge(self, pack: KnowledgePack) -> None:
        rows = {seq: (kind, payload) for seq, kind, payload in logged(pack) if seq > self.first}
        assert json.dumps(self.heard, sort_keys=True) == json.dumps(rows, sort_keys=True)
        state, there = self.pack.value, selectors.pack_snapshot(pack.pk)
        assert state is not None
        for one in (state, there):
            one["entries"].sort(key=lambda entry: entry["id"])
        assert state == there


def curate(user: User, pack: KnowledgePack) -> None:
    """Some edits of people."""
    for turn in range(8):
        items = [{"title": f"T{turn}.{n}", "content": f"Text {turn}.{n}"} for n in range(3)]
        first, *_ = services.add_entries(pack, user, items)
        assert first.entry
        services.revise_entry(first.entry.pk, user, {"content": f"New {turn}"})
        if turn % 3 == 0:
            services.delete_entry(first.entry.pk)
        services.update_pack(pack.pk, {"name": f"Turn {turn}"})


async def aside(work: Callable[..., T], *values: Any) -> T:
    """On a thread that gives its connection back: the tests' database cannot be dropped while an idle thread holds one."""

    def run() -> T:
        try:
            return work(*values)
        finally:
            connection.close()

    return await asyncio.to_thread(run)


def new_pack(user: User) -> KnowledgePack:
    return services.create_pack(user, name="Live")


def end(pack: KnowledgePack) -> None:
    services.update_pack(pack.pk, {"name": END})


async def cut_again_and_again(stream: LiveStream, dice: random.Random) -> None:
    while True:
        await asyncio.sleep(dice.uniform(0.0, 0.08))
        stream.cut()


@live
@pytest.mark.parametrize("last_seq", [None, 0], ids=["snapshot", "whole log"])
async def test_cut_at_random_it_holds_the_log_and_the_state(
    server: LiveServer, user: User, key: str, last_seq: int | None
) -> None:
    pack, dice = await aside(new_pack, user), random.Random(7)
    streams = [LiveStream(server.pack_url(pack), key=key, last_seq=last_seq, backoff=quick()) for _ in range(3)]
    readers = [Reader(last_seq) for _ in streams]
    cutting = [asyncio.create_task(cut_again_and_again(stream, dice)) for stream in streams]
    reading = [
        asyncio.create_task(reader.read(stream.follow())) for reader, stream in zip(readers, streams, strict=True)
    ]
    await aside(curate, user, pack)
    for task in cutting:
        task.cancel()
    await aside(end, pack)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*reading)
    assert sum(stream.connections for stream in streams) > 6
    for reader in readers:
        await aside(reader.judge, pack)


@live
async def test_server_sent_events_bring_the_same(server: LiveServer, user: User, key: str) -> None:
    pack = await aside(new_pack, user)
    reader = Reader(None)
    news = sse.follow(f"{server.url}/api/knowledge-packs/{pack.pk}/stream", key=key, backoff=quick())
    reading = asyncio.create_task(reader.read(news))
    await aside(curate, user, pack)
    await aside(end, pack)
    async with asyncio.timeout(PATIENCE_S):
        await reading
    await aside(reader.judge, pack)


@live
async def test_what_another_try_would_not_change_is_raised(server: LiveServer, pack: KnowledgePack, key: str) -> None:
    unknown, api = f"{server.url}/ws/knowledge-packs/{uuid4()}", f"{server.url}/api/knowledge-packs"
    for news, code in [
        (LiveStream(unknown, key=key).follow(), 4404),
        (LiveStream(server.pack_url(pack), key="qk_wrong").follow(), 4401),
        (sse.follow(f"{api}/{uuid4()}/stream", key=key), 4404),
        (sse.follow(f"{api}/{pack.pk}/stream", key="qk_wrong"), 4401),
    ]:
        with pytest.raises(Refused) as refused:
            async with asyncio.timeout(PATIENCE_S):
                await anext(news)
        assert refused.value.code == code


@live
async def test_it_goes_on_where_an_earlier_process_ended(server: LiveServer, pack: KnowledgePack, key: str) -> None:
    await append_aside(pack, "one", "two", "three")
    async with asyncio.timeout(PATIENCE_S):
        news = LiveStream(server.pack_url(pack), key=key, last_seq=1).follow()
        found = [one async for one in take(news, 2)]
    assert [one.data["text"] for one in found] == ["two", "three"]


async def take(news: AsyncIterator[News], count: int) -> AsyncIterator[Event]:
    async for one in news:
        if isinstance(one, Event):
            yield one
            count -= 1
        if count == 0:
            return


# --- Its parts --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.floats(0.1, 5), st.floats(5, 60), st.integers(0, 99))
def test_pauses_grow_to_their_bound_and_never_below_half(
    failures: int, first: float, longest: float, seed: int
) -> None:
    backoff = Backoff(first, longest, failures, random.Random(seed))
    whole = min(longest, first * 2**failures)
    assert whole / 2 <= backoff.pause() <= whole
    assert backoff.failures == failures + 1


def test_two_clients_do_not_come_back_at_the_same_moment() -> None:
    assert len({Backoff().pause() for _ in range(20)}) > 10


def event(seq: int, kind: str = "session.updated", **data: Any) -> dict[str, Any]:
    return {"t": "event", "seq": seq, "type": kind, "at": "2026-01-01T00:00:00Z", "data": data}


def test_a_place_passes_over_what_is_known_and_refuses_a_gap() -> None:
    place = Place(4)
    assert place.take(event(4)) is None
    assert isinstance(place.take(event(5)), Event)
    with pytest.raises(OutOfOrder):
        place.take(event(7))
    with pytest.raises(OutOfOrder):
        place.take({"t": "heartbeat", "head_seq": 6})
    assert place.take({"t": "heartbeat", "head_seq": 5}) is None
    assert place.take({"t": "something new"}) is None
    assert place.last_seq == 5


def test_hooks_hear_their_events_once() -> None:
    heard: list[tuple[str, int]] = []
    council = Council({"session": {}, "rounds": [], "messages": [], "decisions": [], "last_seq": 1})

    def into(name: str) -> Callable[[Event], None]:
        return lambda one: heard.append((name, one.seq))

    for kind in ("message.created", "message", "*", "turn"):
        council.on(kind, into(kind))
    said = Event(2, "message.created", "", {"message": {"content": "Hm."}})
    council.apply(said)
    council.apply(said)
    assert heard == [("message.created", 2), ("message", 2), ("*", 2)]
    assert council.value is not None
    assert council.value["messages"] == [{"content": "Hm."}]


def test_an_event_without_a_state_is_refused() -> None:
    with pytest.raises(ValueError, match="before any snapshot"):
        Council().apply(Event(5, "session.updated", "", {"session": {}}))


def test_live_text_is_joined_by_characters_and_ends_with_its_turn() -> None:
    council = Council({"session": {}, "rounds": [], "messages": [], "decisions": [], "last_seq": 1})
    council.apply(Delta("t", 1, 0, "a🦔b"))
    council.apply(Delta("t", 1, 2, "c"))
    council.apply(Delta("t", 1, 9, "a hole"))
    assert council.live == {"t": "a🦔c"}
    council.apply(Delta("t", 2, 0, "anew"))
    council.apply(Delta("t", 1, 0, "late"))
    assert council.live == {"t": "anew"}
    council.apply(Delta("t", 3, 2, "a hole"))
    assert council.live == {"t": "anew"}


def test_text_that_comes_after_its_turn_s_end_is_dropped() -> None:
    turn = {"turn": "t", "run": 1, "round": 1, "attempt": 2, "status": "completed"}
    opened = {"run": 1, "round": 1, "turns": []}
    council = Council({"session": {}, "rounds": [opened], "messages": [], "decisions": [], "last_seq": 1})
    council.apply(Delta("t", 2, 0, "So"))
    council.apply(Event(2, "turn.completed", "", turn))
    council.apply(Delta("t", 2, 0, "So be it"))
    assert council.live == {}
    council.apply(Delta("t", 3, 0, "Again"))
    assert council.live == {"t": "Again"}


def test_the_folder_works_elsewhere_and_without_django(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "quorum_live", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import sys, quorum_live, quorum_live.sse; sys.exit(any(name.startswith(('django', 'clients')) for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
