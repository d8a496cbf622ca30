"""Who may open a socket: cookies with our own Origin, keys, single-use tickets; and what ends it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.contrib.auth import logout
from django.http import HttpRequest
from django.test import Client

from accounts import keys
from accounts.models import ApiKey, User
from accounts.services import revoke_api_key
from knowledge.models import KnowledgePack
from realtime import auth, limits, nudge, tickets
from realtime.db import query
from realtime.errors import Unavailable
from tests.realtime.live import LiveServer, append
from tests.support.ws_client import LiveClient

pytestmark = pytest.mark.django_db(transaction=True)
OURS = "https://quorum.example"


@pytest.fixture(autouse=True)
def origins(settings: LazySettings) -> None:
    settings.PUBLIC_URL = f"{OURS}/app"
    settings.CORS_ALLOWED_ORIGINS = ["http://localhost:5173"]


@pytest.fixture
def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def cookie(browser: Client, settings: LazySettings) -> str:
    name = settings.SESSION_COOKIE_NAME
    return f"theme=dark; {name}={browser.cookies[name].value}"


@pytest.fixture
async def page(
    server: LiveServer, pack: KnowledgePack, browser: Client, settings: LazySettings
) -> AsyncIterator[LiveClient]:
    """A socket of the signed-in browser, opened from our own page."""
    headers = {"Cookie": cookie(browser, settings), "Origin": OURS}
    async with LiveClient(server.pack_url(pack), headers=headers) as client:
        yield client


async def test_a_cookie_from_our_own_page_opens(page: LiveClient) -> None:
    assert (await page.connect())["t"] == "welcome"


@pytest.mark.parametrize("origin", [OURS, "HTTPS://Quorum.Example:443", "http://localhost:5173"])
def test_origins_are_compared_as_browsers_write_them(origin: str) -> None:
    assert auth._normal(origin) in auth.allowed_origins()


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "",
        "http://quorum.example",
        "https://quorum.example:8443",
        "https://evil.example",
        "https://quorum.example.evil.example",
        "https://sub.quorum.example",
        "https://[oops",
    ],
)
async def test_a_cookie_from_a_foreign_page_is_refused(
    browser: Client, settings: LazySettings, origin: str | None
) -> None:
    headers = {"cookie": cookie(browser, settings)} | ({} if origin is None else {"origin": origin})
    with pytest.raises(auth.Refused) as refused:
        await query(auth.from_headers, headers, keys, origin_required=True)
    assert refused.value.code == 4403


async def test_a_foreign_page_is_closed_with_4403(
    server: LiveServer, pack: KnowledgePack, browser: Client, settings: LazySettings
) -> None:
    headers = {"Cookie": cookie(browser, settings), "Origin": "https://evil.example"}
    async with LiveClient(server.pack_url(pack), headers=headers) as client:
        assert await client.refusal() == 4403


async def test_a_key_needs_no_origin(server: LiveServer, pack: KnowledgePack, key: str) -> None:
    headers = {"Origin": "https://evil.example"}
    async with LiveClient(server.pack_url(pack), key=key, headers=headers) as client:
        assert (await client.connect())["t"] == "welcome"


async def test_a_ticket_opens_from_any_origin_once(server: LiveServer, pack: KnowledgePack, user: User) -> None:
    ticket = await query(tickets.issue, user.pk)
    headers = {"Origin": "https://evil.example"}
    async with LiveClient(server.pack_url(pack), ticket=ticket, headers=headers) as client:
        assert (await client.connect())["t"] == "welcome"
    async with LiveClient(server.pack_url(pack), ticket=ticket) as again:
        assert await again.refusal() == 4401


async def test_of_two_who_redeem_a_ticket_together_one_gets_in(user: User) -> None:
    ticket = await query(tickets.issue, user.pk)
    grants = await asyncio.gather(*(query(tickets.redeem, ticket) for _ in range(8)))
    assert [grant for grant in grants if grant is not None] == [tickets.Grant(user.pk)]


def test_a_ticket_is_good_for_thirty_seconds_and_not_stored_itself(user: User) -> None:
    ticket = tickets.issue(user.pk)
    stored = tickets._key(ticket)
    assert 0 < nudge.client().ttl(stored) <= limits.TICKET_S
    assert ticket not in stored


def test_a_ticket_cannot_be_issued_without_the_broker(user: User, settings: LazySettings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    nudge.client.cache_clear()
    try:
        with pytest.raises(Unavailable):
            tickets.issue(user.pk)
    finally:
        nudge.client().close()
        nudge.client.cache_clear()


async def test_a_ticket_of_a_disabled_user_is_refused(server: LiveServer, pack: KnowledgePack, user: User) -> None:
    ticket = await query(tickets.issue, user.pk)
    await query(User.objects.filter(pk=user.pk).update, is_active=False)
    async with LiveClient(server.pack_url(pack), ticket=ticket) as client:
        assert await client.refusal() == 4401


def end_session(browser: Client, user_id: UUID, *, announce_first: bool) -> None:
    request: Any = HttpRequest()
    request.session = browser.session
    if announce_first:  # as a receiver of Django's signal would
        nudge.sign_out(user_id)
    logout(request)
    if not announce_first:
        nudge.sign_out(user_id)


@pytest.mark.parametrize("announce_first", [False, True])
async def test_signing_out_closes_the_sockets_of_that_session(
    page: LiveClient,
    server: LiveServer,
    pack: KnowledgePack,
    key: str,
    browser: Client,
    user: User,
    announce_first: bool,
) -> None:
    async with LiveClient(server.pack_url(pack), key=key) as program:
        await page.connect()
        await program.connect()
        await asyncio.sleep(0.3)
        await query(end_session, browser, user.pk, announce_first=announce_first)
        assert await page.closed(patience=3) == 4401
        await query(append, pack, "still here")
        await program.reach(1)


async def test_signing_out_closes_sockets_opened_by_ticket(
    server: LiveServer, pack: KnowledgePack, browser: Client, user: User
) -> None:
    ticket = await query(tickets.issue, user.pk, browser.session.session_key)
    async with LiveClient(server.pack_url(pack), ticket=ticket) as client:
        await client.connect()
        await query(end_session, browser, user.pk, announce_first=False)
        assert await client.closed(patience=3) == 4401


async def test_a_new_password_closes_the_sockets_of_old_sessions(page: LiveClient, user: User) -> None:
    await page.connect()
    user.set_password("another long password")
    await query(user.save)
    await asyncio.to_thread(nudge.sign_out, user.pk)
    assert await page.closed(patience=3) == 4401


async def test_a_revoked_key_closes_its_sockets_at_the_next_check(
    server: LiveServer, pack: KnowledgePack, key: str, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECHECK_S", 0.2)
    async with LiveClient(server.pack_url(pack), key=key) as client:
        await client.connect()
        await query(lambda: revoke_api_key(ApiKey.objects.get(user=user)))
        assert await client.closed(patience=3) == 4401
