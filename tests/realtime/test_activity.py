"""What one has open or running, and on which devices: ``/api/me/activity``, with real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import LoginSession, User
from accounts.services import create_api_key
from council import services as councils
from council.models import CouncilSession
from knowledge import services as packs
from knowledge.models import Import, KnowledgePack
from realtime import limits
from realtime.db import query
from realtime.groups import stream_group
from realtime.presence import Presence
from tests.conftest import Api
from tests.realtime.broker import Broker
from tests.realtime.live import LiveServer
from tests.support.councils import Convene
from tests.support.ws_client import LiveClient

pytestmark = pytest.mark.django_db(transaction=True)

ROUTE, OURS = "/api/me/activity", "https://quorum.example"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> None:
    monkeypatch.setattr(limits, "PRESENCE_S", 0.05)
    monkeypatch.setattr(limits, "HEARTBEAT_S", 1.0)
    settings.PUBLIC_URL = OURS


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    LoginSession.objects.filter(user=user).update(user_agent=FIREFOX, ip="127.0.0.1")
    return client


def cookie_of(browser: Client, settings: LazySettings) -> dict[str, str]:
    name = settings.SESSION_COOKIE_NAME
    return {"Cookie": f"{name}={browser.cookies[name].value}", "Origin": OURS}


def said(browser: Client) -> Json:
    answer = browser.get(ROUTE)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


async def until(browser: Client, holds: Callable[[Json], bool]) -> Json:
    deadline = time.monotonic() + 20
    while not holds(found := await query(said, browser)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)
    return found


def kinds(found: Json) -> list[tuple[str, str]]:
    return [(one["kind"], one["device"]) for pack in found["packs"] for one in pack["watched"]]


async def test_it_follows_devices_as_they_come_and_go(
    server: LiveServer, user: User, pack: KnowledgePack, key: str, settings: LazySettings
) -> None:
    browser = await query(browser_of, user)
    assert await query(said, browser) == {"live": True, "councils": [], "packs": []}
    async with AsyncExitStack() as stack:
        headers = cookie_of(browser, settings)
        for _ in range(2):  # two tabs of one browser are one device
            tab = await stack.enter_async_context(LiveClient(server.pack_url(pack), headers=headers))
            await tab.connect()
        async with LiveClient(server.pack_url(pack), key=key) as program:
            await program.connect()
            found = await until(browser, lambda found: len(kinds(found)) == 2)
            [shown] = found["packs"]
            assert (shown["id"], shown["name"], shown["running_since"]) == (str(pack.pk), "Live", None)
            assert {*kinds(found)} == {("login", "Firefox on Linux"), ("key", "live tests")}
            ids = {one["kind"]: one["id"] for one in shown["watched"]}
            assert ids["login"] == (await query(browser.get, "/api/me/sessions")).json()["results"][0]["id"]
            assert {one["address"] for one in shown["watched"]} == {"127.0.0.1"}
        await until(browser, lambda found: kinds(found) == [("login", "Firefox on Linux")])
    await until(browser, lambda found: found["packs"] == [])


async def test_it_is_ones_own_and_not_for_keys(
    server: LiveServer, user: User, other_user: User, pack: KnowledgePack, key: str
) -> None:
    browser, other = [await query(browser_of, one) for one in (user, other_user)]
    async with LiveClient(server.pack_url(pack), key=key) as program:
        await program.connect()
        await until(browser, lambda found: len(found["packs"]) == 1)
        assert (await query(said, other))["packs"] == []
    assert (await query(Api(key).get, ROUTE)).json()["code"] == "session_required"
    assert (await query(Client().get, ROUTE)).status_code == 401


async def test_what_valkey_forgets_is_told_again(
    broker: Broker, server: LiveServer, user: User, pack: KnowledgePack, key: str
) -> None:
    browser = await query(browser_of, user)
    async with LiveClient(server.pack_url(pack), key=key) as program:
        await program.connect()
        await until(browser, lambda found: len(found["packs"]) == 1)
        broker.command("FLUSHALL")
        assert (await query(said, browser))["live"] is True
        await until(browser, lambda found: kinds(found) == [("key", "live tests")])


def test_without_valkey_what_runs_is_said_and_that_the_rest_is_unknown(
    broker: Broker, user: User, convene: Convene, pack: KnowledgePack
) -> None:
    browser = browser_of(user)
    running = councils.start(user, convene().pk)
    Import.objects.create(pack=pack, created_by=user)
    broker.freeze()
    began = time.monotonic()
    found = said(browser)
    assert time.monotonic() - began < 10
    assert found["live"] is False
    [council], [imported] = found["councils"], found["packs"]
    assert (council["id"], council["status"], council["watched"]) == (str(running.pk), "running", [])
    assert council["running_since"] is not None
    assert (imported["id"], imported["running_since"] is not None) == (str(pack.pk), True)


def test_a_council_that_has_ended_is_not_shown(user: User, convene: Convene) -> None:
    browser = browser_of(user)
    session = councils.pause(user, councils.start(user, convene().pk).pk)
    assert [one["status"] for one in said(browser)["councils"]] == ["paused"]
    councils.stop(user, session.pk)
    assert said(browser)["councils"] == []


def test_a_pack_that_one_may_not_see_any_more_is_not_shown(
    user: User, other_user: User, settings: LazySettings
) -> None:
    """Its watcher may be shown as there for a moment after it was sent away."""
    pack = packs.create_pack(other_user, name="Shared")
    share, _ = packs.share(pack.pk, other_user, user.email, "viewer")
    here, browser = Presence(), browser_of(user)
    here.enter(stream_group(KnowledgePack, pack.pk), user.pk, "login:" + "00" * 32)
    here.write(here.changes())
    [shown] = said(browser)["packs"]
    assert (shown["name"], shown["watched"][0]["device"], shown["watched"][0]["id"]) == (
        "Shared",
        "Unknown device",
        None,
    )
    packs.unshare(pack.pk, share.pk)
    assert said(browser)["packs"] == []


def test_the_number_of_queries_does_not_grow(user: User, convene: Convene) -> None:
    browser = browser_of(user)

    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            said(browser)
        return len(asked)

    queries()
    before = queries()
    for name in "abc":
        councils.start(user, convene().pk)
        create_api_key(user, name)
        Import.objects.create(pack=packs.create_pack(user, name=name), created_by=user)
    assert (
        CouncilSession.objects.filter(status="running", started_at__gt=timezone.now() - timedelta(hours=1)).count() == 3
    )
    assert queries() == before
