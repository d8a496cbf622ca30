"""Whoever loses the right to watch is sent away, however it is lost, while events go on being written; and hears nothing after that."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth import logout
from django.db import connection, transaction
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone
from websockets.exceptions import ConnectionClosed

from accounts import departures, logins
from accounts.models import ApiKey, LoginSession, User
from accounts.services import recheck_sockets, revoke_api_key
from accounts.session_store import SessionStore
from knowledge import services as packs
from knowledge.models import KnowledgePack, PackShare
from realtime import limits
from realtime.db import query
from tests.realtime.live import LiveServer, append
from tests.support.ws_client import LiveClient

pytestmark = pytest.mark.django_db(transaction=True)
OURS = "https://quorum.example"
SIGNED_OUT, UNKNOWN = 4401, 4404
CHECK_S = 1.0  # instead of 60
SOON_S = 5.0  # 2 are promised, to people whose server is not busy with a test suite


def signs_out(user: User, browser: Client, pack: KnowledgePack) -> None:
    request: Any = HttpRequest()
    request.session, request.user = browser.session, user
    logout(request)


def is_deactivated(user: User, browser: Client, pack: KnowledgePack) -> None:
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(is_active=False)
        recheck_sockets(user)


def has_the_key_revoked(user: User, browser: Client, pack: KnowledgePack) -> None:
    revoke_api_key(ApiKey.objects.get(user=user))


def loses_the_share(user: User, browser: Client, pack: KnowledgePack) -> None:
    packs.unshare(pack.pk, PackShare.objects.get(pack=pack, user=user).pk)


def sees_it_deleted(user: User, browser: Client, pack: KnowledgePack) -> None:
    packs.delete_pack(pack.pk)


def has_a_key_that_expires(user: User, browser: Client, pack: KnowledgePack) -> None:
    ApiKey.objects.filter(user=user).update(expires_at=timezone.now() - timedelta(seconds=1))


def has_a_login_that_runs_out(user: User, browser: Client, pack: KnowledgePack) -> None:
    browser.session.flush()


def has_the_login_ended_elsewhere(user: User, browser: Client, pack: KnowledgePack) -> None:
    logins.end(user, LoginSession.objects.get(user=user).pk)


def signs_out_everywhere_else(user: User, browser: Client, pack: KnowledgePack) -> None:
    logins.end_others(user, SessionStore())


def changes_the_password(user: User, browser: Client, pack: KnowledgePack) -> None:
    user.set_password("another battery staple")
    user.save()


def is_idle(user: User, browser: Client, pack: KnowledgePack) -> None:
    LoginSession.objects.filter(user=user).update(last_seen_at=timezone.now() - timedelta(minutes=31))


def has_been_signed_in_all_day(user: User, browser: Client, pack: KnowledgePack) -> None:
    LoginSession.objects.filter(user=user).update(created_at=timezone.now() - timedelta(hours=13))


def asks_for_the_accounts_deletion(user: User, browser: Client, pack: KnowledgePack) -> None:
    departures.ask(user)


Loss = Callable[[User, Client, KnowledgePack], None]
AT_ONCE = [
    (signs_out, "cookie", SIGNED_OUT),
    (has_the_login_ended_elsewhere, "cookie", SIGNED_OUT),
    (has_the_login_ended_elsewhere, "token", SIGNED_OUT),
    (signs_out_everywhere_else, "cookie", SIGNED_OUT),
    (changes_the_password, "cookie", SIGNED_OUT),
    (asks_for_the_accounts_deletion, "cookie", SIGNED_OUT),
    (asks_for_the_accounts_deletion, "key", SIGNED_OUT),
    (is_deactivated, "cookie", SIGNED_OUT),
    (is_deactivated, "key", SIGNED_OUT),
    (has_the_key_revoked, "key", SIGNED_OUT),
    (loses_the_share, "cookie", UNKNOWN),
    (loses_the_share, "key", UNKNOWN),
    (sees_it_deleted, "key", UNKNOWN),
]
AT_THE_NEXT_CHECK = [
    (has_a_key_that_expires, "key", SIGNED_OUT),
    (has_a_login_that_runs_out, "cookie", SIGNED_OUT),
    (is_idle, "cookie", SIGNED_OUT),
    (is_idle, "token", SIGNED_OUT),
    (has_been_signed_in_all_day, "cookie", SIGNED_OUT),
]


@pytest.mark.parametrize(("lose", "by", "code", "soon"), [
    *((*row, True) for row in AT_ONCE), *((*row, False) for row in AT_THE_NEXT_CHECK)
])  # fmt: skip
async def test_it_is_sent_away_and_hears_nothing_more(
    server: LiveServer, user: User, other_user: User, key: str, settings: LazySettings, monkeypatch: pytest.MonkeyPatch,
    lose: Loss, by: str, code: int, soon: bool,
) -> None:  # fmt: skip
    settings.PUBLIC_URL = OURS
    monkeypatch.setattr(limits, "RECHECK_S", limits.RECHECK_S if soon else CHECK_S)
    pack, browser = await query(_shared, other_user, user)
    name = settings.SESSION_COOKIE_NAME
    cookie = {"Cookie": f"{name}={browser.cookies[name].value}", "Origin": OURS}
    token = {"X-Session-Token": browser.cookies[name].value}
    ways: dict[str, dict[str, Any]] = {"key": {"key": key}, "cookie": {"headers": cookie}, "token": {"headers": token}}
    async with LiveClient(server.pack_url(pack), **ways[by]) as client:
        await client.connect()
        with _writing(pack):
            await client.next("event")
            await query(lose, user, browser, pack)
            lost_at = time.monotonic()
            assert await client.closed(patience=10) == code
            took = time.monotonic() - lost_at
            assert client.socket is not None
            await asyncio.sleep(0.1)
            with pytest.raises(ConnectionClosed):
                await client.socket.recv()
    assert took < (SOON_S if soon else CHECK_S + SOON_S)


def _shared(owner: User, user: User) -> tuple[KnowledgePack, Client]:
    pack = packs.create_pack(owner, name="Shared")
    packs.share(pack.pk, owner, user.email, "viewer")
    browser = Client()
    browser.force_login(user)
    return pack, browser


@contextmanager
def _writing(pack: KnowledgePack) -> Iterator[None]:
    """Events, fifty a second."""
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.02):
            append(pack, "go on")
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()
