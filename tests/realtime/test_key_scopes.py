"""What a key's scopes let it watch, over sockets, streams and tickets; and for how long."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from accounts import keys
from accounts.models import User
from accounts.scopes import ALL, granted
from config.sockets import websocket
from council import services as councils
from knowledge.models import KnowledgePack
from realtime import limits
from realtime.db import query
from realtime.sources import StreamSource
from tests.conftest import Api
from tests.realtime.live import LiveServer, append
from tests.support.ws_client import LiveClient

pytestmark = pytest.mark.django_db(transaction=True)
PACKS, COUNCILS = "packs:read", "councils:read"
# What each socket needs, and the API's address of the same stream. A route that is not here fails.
NEEDS = {
    "ws/council-sessions/<uuid:stream_id>": ({COUNCILS}, "council-sessions/{id}/stream"),
    "ws/knowledge-packs/<uuid:stream_id>": ({PACKS}, "knowledge-packs/{id}/stream"),
    "ws/me": ({COUNCILS, PACKS}, "me/stream"),
}
HELD = [(scope,) for scope in map(str, ALL)] + [(PACKS, COUNCILS)]


def secret_with(user: User, *scopes: str) -> str:
    return keys.create_api_key(user, "live", scopes=scopes)[1]


def routes() -> dict[str, StreamSource]:
    """The sockets' patterns without their twins that end with a slash, and what each of them shows."""
    found = {str(route.pattern): route.callback.consumer_class for route in websocket.routes}
    return {path: consumer.source for path, consumer in found.items() if path and not path.endswith("/")}


def test_every_socket_has_a_row_and_declares_its_scopes() -> None:
    declared = {path: set(source.scopes) for path, source in routes().items()}
    assert declared == {path: needs for path, (needs, _) in NEEDS.items()}


def test_a_source_without_scopes_is_an_error_in_the_program() -> None:
    with pytest.raises(TypeError, match="scopes"):
        type("Forgot", (StreamSource,), {"model": KnowledgePack})


@pytest.mark.parametrize("path", list(NEEDS))
async def test_sockets_and_streams_ask_for_scopes(
    server: LiveServer, user: User, pack: KnowledgePack, path: str
) -> None:
    session = await query(councils.create_session, user, councils.Plan(question="What?"))
    needs, stream = NEEDS[path]
    stream_id = session.pk if "council" in path else pack.pk
    for held in HELD:
        secret = await query(secret_with, user, *held)
        may = needs <= granted(held)
        async with LiveClient(f"{server.url}/{path.replace('<uuid:stream_id>', str(stream_id))}", key=secret) as client:
            assert await client.connect() if may else await client.refusal() == 4403, held
        status = await sync_to_async(opened)(f"{server.url}/api/{stream.format(id=stream_id)}", secret, needs)
        assert status == (200 if may else 403), held


def opened(url: str, secret: str, needs: set[str]) -> int:
    """The status of a GET; that a 403 is the right problem is asserted here."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {secret}"})  # our own server
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        refused = error
    scopes = " ".join(sorted(needs))
    assert refused.headers["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{scopes}"'
    assert refused.headers["Content-Type"] == "application/problem+json"
    body = json.loads(refused.read())
    assert (body["code"], body["status"]) == ("insufficient_scope", 403)
    assert scopes in body["detail"]
    return refused.code


async def test_a_wrong_scope_says_nothing_of_what_exists(server: LiveServer, user: User, pack: KnowledgePack) -> None:
    secret = await query(secret_with, user, COUNCILS)
    for stream_id in (pack.pk, uuid4()):
        async with LiveClient(f"{server.url}/ws/knowledge-packs/{stream_id}", key=secret) as client:
            assert await client.refusal() == 4403


# --- Tickets ----------------------------------------------------------------------------------------------------------


def ticket_of(secret: str) -> str:
    answer = Api(secret).post("/api/tickets")
    assert answer.status_code == 201
    return str(answer.json()["ticket"])


@pytest.mark.parametrize(("scope", "code"), [(COUNCILS, 4403), (PACKS, None)])
async def test_a_ticket_opens_what_its_key_opens(
    server: LiveServer, user: User, pack: KnowledgePack, scope: str, code: int | None
) -> None:
    ticket = await query(lambda: ticket_of(secret_with(user, scope)))
    async with LiveClient(server.pack_url(pack), ticket=ticket) as client:
        if code is None:
            assert (await client.connect())["t"] == "welcome"
        else:
            assert await client.refusal() == code


async def test_the_ticket_of_a_revoked_key_is_refused(server: LiveServer, user: User, pack: KnowledgePack) -> None:
    def revoked() -> str:
        key, secret = keys.create_api_key(user, "live")
        ticket = ticket_of(secret)
        keys.revoke_api_key(key)
        return ticket

    async with LiveClient(server.pack_url(pack), ticket=await query(revoked)) as client:
        assert await client.refusal() == 4401


# --- For how long -----------------------------------------------------------------------------------------------------


def revoke(user: User) -> None:
    keys.revoke_api_key(user.api_keys.get())


def rotate_at_once(user: User) -> None:
    keys.rotate_api_key(user, user.api_keys.get().pk, timedelta(0))


def expire(user: User) -> None:
    user.api_keys.update(expires_at=timezone.now())


@pytest.mark.parametrize("by", ["key", "ticket"])
@pytest.mark.parametrize(("end", "soon"), [(revoke, True), (rotate_at_once, True), (expire, False)])
async def test_the_end_of_a_secret_is_the_end_of_what_it_opened(
    server: LiveServer, user: User, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch,
    end: Callable[[User], None], soon: bool, by: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(limits, "RECHECK_S", limits.RECHECK_S if soon else 0.3)
    secret = await query(secret_with, user, PACKS)
    asked = {"key": secret} if by == "key" else {"ticket": await query(ticket_of, secret)}
    async with LiveClient(server.pack_url(pack), **asked) as client:
        await client.connect()
        await query(end, user)
        assert await client.closed(patience=15) == 4401


async def test_an_overlap_keeps_what_the_old_secret_opened_until_it_ends(
    server: LiveServer, user: User, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RECHECK_S", 0.3)
    secret = await query(secret_with, user, PACKS)
    async with LiveClient(server.pack_url(pack), key=secret) as client:
        await client.connect()
        await query(lambda: keys.rotate_api_key(user, user.api_keys.get().pk, timedelta(hours=1)))
        await asyncio.sleep(1)
        await query(append, pack, "still here")
        await client.reach(1)
        await query(lambda: user.api_keys.update(previous_until=timezone.now()))
        assert await client.closed(patience=15) == 4401


async def test_the_address_of_a_socket_is_noted(server: LiveServer, user: User, pack: KnowledgePack) -> None:
    async with LiveClient(server.pack_url(pack), key=await query(secret_with, user, PACKS)) as client:
        await client.connect()
    assert (await query(user.api_keys.get)).last_used_ip == "127.0.0.1"
