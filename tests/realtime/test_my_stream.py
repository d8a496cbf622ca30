"""``/ws/me`` and ``/api/me/stream``: one's own stream and nobody else's, over both carriers, for as long as one is signed in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.admin import site
from django.contrib.auth import logout
from django.db import connection, transaction
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse

from accounts import events, streams
from accounts.admin import UserAdmin
from accounts.cleaning import NEWS
from accounts.events import About, Notification
from accounts.models import User, UserEvent, UserStream
from council import me
from knowledge import services as packs
from realtime import cleaning, feed, limits, reader, tickets
from realtime.db import query
from realtime.ids import uuid7
from realtime.outbox import Outbox
from tests.realtime.live import LiveServer
from tests.realtime.test_sse import get
from tests.support.reducer import reduce_me
from tests.support.ws_client import LiveClient

pytestmark = pytest.mark.django_db(transaction=True)


def note(user: User, number: int = 1) -> None:
    about = About(type="pack", id=uuid7())
    told = [events.notification(Notification(kind="import_failed", about=about, title="T"))] * number
    with transaction.atomic():
        streams.tell({user.pk: told})


def my_url(server: LiveServer) -> str:
    return f"{server.url}/ws/me"


async def test_everybody_is_told_their_own(
    server: LiveServer, user: User, other_user: User, key: str, other_key: str
) -> None:
    async with LiveClient(my_url(server), key=key) as mine, LiveClient(my_url(server) + "/", key=other_key) as theirs:
        await mine.connect()
        await theirs.connect()
        pack = await query(packs.create_pack, user, name="Ferries")
        await query(packs.share, pack.pk, user, other_user.email, "viewer")
        await mine.reach(1)
        await theirs.reach(2)
        assert [row["type"] for row in mine.rows.values()] == ["pack.created"]
        assert [row["type"] for row in theirs.rows.values()] == ["pack.shared", "notification.created"]
        assert reduce_me(theirs.snapshot or {}, list(theirs.rows.values())) == await query(me.snapshot, other_user.pk)
        assert {frame["t"] for frame in mine.frames} == {
            "welcome",
            "event",
        }  # nobody is told that they watch themselves


async def test_a_stranger_and_a_signed_out_person_have_none(server: LiveServer, user: User) -> None:
    async with LiveClient(my_url(server)) as client:
        assert await client.refusal() == 4401
    async with get(f"{server.url}{reverse('me-stream')}") as stream:
        assert stream.status == 401


async def test_a_ticket_opens_the_stream_of_whom_it_was_given_to(server: LiveServer, user: User) -> None:
    await query(note, user)
    ticket = await query(tickets.issue, user.pk)
    async with LiveClient(my_url(server), ticket=ticket) as client:
        welcome = await client.connect()
        assert [one["title"] for one in welcome["snapshot"]["notifications"]] == ["T"]


async def test_both_carriers_say_the_same(server: LiveServer, user: User, key: str) -> None:
    await query(note, user, 3)
    address = f"{server.url}{reverse('me-stream')}?after=1"
    async with (
        get(address, Authorization=f"Bearer {key}") as stream,
        LiveClient(my_url(server), key=key, last_seq=1) as client,
    ):
        welcome = await client.connect()
        assert await stream.frame() == welcome == {"t": "welcome", "head_seq": 3, "mode": "replay"}
        await query(note, user)
        await client.reach(4)
        assert [await stream.event() for _ in range(3)] == list(client.rows.values())


async def test_a_thousand_notifications_later_there_is_a_snapshot(server: LiveServer, user: User, key: str) -> None:
    async with (
        LiveClient(my_url(server), key=key, last_seq=0) as client,
        LiveClient(my_url(server), key=key, last_seq=0) as other,
    ):
        await client.connect()
        await other.connect()
        client.cut()
        for _ in range(10):
            await query(note, user, 100)
        await other.reach(1000)
        welcome = await client.connect()
        assert (welcome["mode"], welcome["head_seq"]) == ("snapshot", 1000)
        assert [one["seq"] for one in welcome["snapshot"]["notifications"]] == list(range(501, 1001))
        await query(note, user)
        await client.reach(1001)
        assert reduce_me(welcome["snapshot"], [client.rows[1001]]) == await query(me.snapshot, user.pk)


async def test_signing_out_ends_it(
    server: LiveServer, user: User, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PUBLIC_URL = "https://quorum.example"
    browser = Client()
    await query(browser.force_login, user)
    cookie = f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}"
    async with LiveClient(my_url(server), headers={"Cookie": cookie, "Origin": "https://evil.example"}) as foreign:
        assert await foreign.refusal() == 4403
    async with LiveClient(my_url(server), headers={"Cookie": cookie, "Origin": "https://quorum.example"}) as page:
        await page.connect()
        await query(_sign_out, browser, user)
        await query(note, user)
        assert await page.closed() == 4401
        assert not page.rows or list(page.rows) == [1]  # committed before the server had heard of the sign-out


def _sign_out(browser: Client, user: User) -> None:
    request: Any = HttpRequest()
    request.session, request.user = browser.session, user
    logout(request)


async def test_a_deactivated_person_is_sent_away(server: LiveServer, user: User, key: str) -> None:
    async with LiveClient(my_url(server), key=key) as client:
        await client.connect()
        await query(_deactivate, user)
        assert await client.closed() == 4401


def _deactivate(user: User) -> None:
    """As the admin does."""
    user.is_active = False
    admin: Any = UserAdmin(User, site)
    with transaction.atomic():
        admin.save_model(HttpRequest(), user, _Changed(["is_active"]), True)


class _Changed:
    def __init__(self, changed_data: list[str]) -> None:
        self.changed_data = changed_data


async def test_nobody_who_comes_after_a_share_is_gone_is_told_of_it(
    server: LiveServer, user: User, other_user: User, other_key: str
) -> None:
    """Not even from what the process remembers: a first device has made it read everything."""
    pack = await query(packs.create_pack, user, name="Secret")
    async with LiveClient(my_url(server), key=other_key) as first, LiveClient(my_url(server), key=other_key) as late:
        await first.connect()
        share, _ = await query(packs.share, pack.pk, user, other_user.email, "viewer")
        await query(packs.update_pack, pack.pk, {"name": "Secret boats"})
        await first.reach(3)
        await query(packs.unshare, pack.pk, share.pk)
        await first.reach(4)
        late.last_seq = 0
        await late.connect()
        await late.reach(4)
        assert [row["type"] for row in late.rows.values()] == ["withdrawn"] * 3 + ["pack.unshared"]
    async with LiveClient(my_url(server), key=other_key) as newcomer:
        welcome = await newcomer.connect()
        assert "Secret" not in json.dumps([*late.frames, welcome])
        assert reduce_me(first.snapshot or {}, list(first.rows.values())) == welcome["snapshot"]


@pytest.mark.parametrize("point", range(10))
async def test_a_share_that_goes_while_somebody_joins_leaves_nothing_behind(
    here: feed.Feed, user: User, other_user: User, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    """The share is taken away just before (even) or after (odd) each database call that a newcomer's joining makes, and the reader
    has heard of it by the end: whoever comes next gets nothing of the pack."""
    pack = await query(packs.create_pack, user, name="Secret")
    share, _ = await query(packs.share, pack.pk, user, other_user.email, "viewer")
    await query(packs.update_pack, pack.pk, {"name": "Secret boats"})
    calls = -1

    async def schedule(function: Callable[..., Any], *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if point == 2 * calls:
            await query(packs.unshare, pack.pk, share.pk)
        result = await query(function, *args)
        if point == 2 * calls + 1:
            await query(packs.unshare, pack.pk, share.pk)
        return result

    monkeypatch.setattr(reader, "query", schedule)
    stream = here.hold(me.MyStreams(), other_user.pk)
    await stream.join(Outbox(), 0)
    await stream.join(Outbox(), None)
    monkeypatch.setattr(reader, "query", query)
    if point >= 2 * (calls + 1):  # it joined with fewer calls
        await query(packs.unshare, pack.pk, share.pk)
    await stream._catch_up()
    for last_seq in (0, 1, None):
        outbox = Outbox()
        await stream.join(outbox, last_seq)
        assert outbox.seq == 4
        assert "Secret" not in "".join(frame.text for frame in outbox._frames)
    here.release(stream)


async def test_the_newest_events_that_may_be_replayed_outlive_the_trimming(
    server: LiveServer, user: User, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEPT_MOST", streams.KEPT_ALWAYS)
    await query(note, user, 700)
    await query(_age_and_trim)
    async with LiveClient(my_url(server), key=key, last_seq=700 - limits.REPLAY_EVENTS) as client:
        assert (await client.connect())["mode"] == "replay"
        await client.reach(700)


def _age_and_trim() -> None:
    assert cleaning.run("news", NEWS).removed == 100
    assert UserEvent.objects.count() == streams.KEPT_ALWAYS
    assert UserStream.objects.filter(last_seq=700).exists()
    connection.close()
