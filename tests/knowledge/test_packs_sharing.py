"""Sharing by e-mail, public packs, transfer, and what becomes of open sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings

from accounts.models import User
from accounts.services import create_api_key
from knowledge import services
from knowledge.models import KnowledgePack, PackShare
from realtime.db import query
from tests.conftest import Api
from tests.knowledge.test_api_packs import PACKS, problem, url
from tests.realtime.live import LiveServer
from tests.support.ws_client import LiveClient

SHARE = {"email": "BOB@example.org", "role": "viewer"}


def shares(pack: KnowledgePack) -> str:
    return f"{url(pack)}/shares"


@pytest.fixture
def third(db: None) -> User:
    return User.objects.create_user("eve@example.org", "pencil battery horse", name="Eve")


def test_a_viewer_may_read_and_an_editor_write(api: Api, other_api: Api, pack: KnowledgePack) -> None:
    made = api.post(shares(pack), SHARE)
    assert made.status_code == 201
    assert made.json()["user"]["email"] == "bob@example.org"
    assert other_api.get(url(pack)).json()["role"] == "viewer"
    problem(other_api.patch(url(pack), {"name": "Mine"}), 403, "role_too_low")
    assert api.post(shares(pack), {**SHARE, "role": "editor"}).status_code == 200
    assert other_api.patch(url(pack), {"name": "Ours"}).status_code == 200
    for owners in ({"visibility": "public"}, {"gate_publishing": 0.5}):
        problem(other_api.patch(url(pack), owners), 403, "role_too_low")
    assert PackShare.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"email": "nobody@example.org", "role": "viewer"}, 404, "user_not_found"),
        ({"email": "ada@example.org", "role": "viewer"}, 409, "already_owner"),
        ({"email": "bob@example.org", "role": "owner"}, 400, None),
        ({"email": "bob", "role": "viewer"}, 400, None),
        ({"email": "bob@example.org"}, 400, None),
    ],
)
def test_impossible_shares_are_refused(
    api: Api, other_user: User, pack: KnowledgePack, body: Any, status: int, code: str | None
) -> None:
    problem(api.post(shares(pack), body), status, code)
    assert not PackShare.objects.exists()


def test_only_the_owner_sees_everybodys_address(
    api: Api, other_api: Api, other_user: User, third: User, pack: KnowledgePack
) -> None:
    services.share(pack.pk, None, third.email, "editor")
    services.share(pack.pk, None, other_user.email, "viewer")
    assert len(api.get(shares(pack)).json()["results"]) == 2
    seen = other_api.get(shares(pack)).json()["results"]
    assert [share["user"]["email"] for share in seen] == ["bob@example.org"]
    assert b"@example.org" not in other_api.get(f"{url(pack)}/events").content


def test_the_owner_changes_and_takes_back(api: Api, other_api: Api, other_user: User, pack: KnowledgePack) -> None:
    share = api.post(shares(pack), SHARE).json()["id"]
    assert api.patch(f"{shares(pack)}/{share}", {"role": "editor"}).json()["role"] == "editor"
    problem(other_api.patch(f"{shares(pack)}/{share}", {"role": "viewer"}), 403, "role_too_low")
    assert api.delete(f"{shares(pack)}/{share}").status_code == 204
    problem(other_api.get(url(pack)), 404)
    kinds = [event["type"] for event in api.get(f"{url(pack)}/events").json()["results"]]
    assert kinds == ["pack.created", "pack.shared", "pack.shared", "pack.unshared"]


def test_one_may_leave_but_not_throw_others_out(
    other_api: Api, other_user: User, third: User, pack: KnowledgePack
) -> None:
    own, _ = services.share(pack.pk, None, other_user.email, "editor")
    theirs, _ = services.share(pack.pk, None, third.email, "viewer")
    problem(other_api.delete(f"{shares(pack)}/{theirs.pk}"), 404)
    assert other_api.delete(f"{shares(pack)}/{own.pk}").status_code == 204
    assert list(PackShare.objects.all()) == [theirs]


def test_public_packs_are_read_by_everybody_and_listed_when_asked_for(
    api: Api, other_api: Api, anonymous: Api, pack: KnowledgePack
) -> None:
    assert api.patch(url(pack), {"visibility": "public"}).status_code == 200
    assert other_api.get(url(pack)).json()["role"] == "viewer"
    problem(anonymous.get(url(pack)), 401)

    def listed(who: Api, scope: str) -> int:
        return len(who.get(f"{PACKS}{scope}").json()["results"])

    assert [listed(other_api, scope) for scope in ("", "?scope=mine", "?scope=shared", "?scope=public", "?scope=all")] == [
        0, 0, 0, 1, 1,
    ]  # fmt: skip
    assert [listed(api, scope) for scope in ("?scope=mine", "?scope=public")] == [1, 0]
    problem(api.get(f"{PACKS}?scope=everything"), 400, "bad_scope")


def test_a_transfer_makes_the_old_owner_an_editor(
    api: Api, other_api: Api, other_user: User, pack: KnowledgePack
) -> None:
    services.share(pack.pk, None, other_user.email, "viewer")
    assert api.post(f"{url(pack)}/transfer", {"email": other_user.email}).json()["role"] == "editor"
    assert other_api.get(url(pack)).json()["role"] == "owner"
    assert [(share.user_id, share.role) for share in PackShare.objects.all()] == [(pack.owner_id, "editor")]
    problem(api.delete(url(pack)), 403, "role_too_low")
    problem(other_api.post(f"{url(pack)}/transfer", {"email": other_user.email}), 409, "already_owner")


def test_events_say_who_acted(api: Api, user: User, pack: KnowledgePack) -> None:
    api.patch(url(pack), {"name": "Renamed"})
    created, updated = api.get(f"{url(pack)}/events").json()["results"]
    assert created["data"]["actor"] is None  # by the fixture, outside any request
    assert updated["data"]["actor"] == {"id": str(user.pk), "name": "Ada"}


# --- Sockets --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(transactional_db: None, settings: LazySettings) -> Iterator[LiveServer]:
    settings.ROOT_URLCONF = "tests.realtime.urls"
    server = LiveServer()
    server.start()
    yield server
    server.stop()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("loss", ["unshared", "private", "deleted"])
async def test_who_loses_access_loses_the_socket(
    server: LiveServer, user: User, other_user: User, pack: KnowledgePack, loss: str
) -> None:
    def prepare() -> tuple[PackShare | None, str]:
        if loss == "private":
            services.update_pack(pack.pk, {"visibility": "public"})
            share = None
        else:
            share, _ = services.share(pack.pk, user, other_user.email, "viewer")
        return share, create_api_key(other_user, "live")[1]

    def lose(share: PackShare | None) -> None:
        if share is not None and loss == "unshared":
            services.unshare(pack.pk, share.pk)
        elif loss == "deleted":
            services.delete_pack(pack.pk)
        else:
            services.update_pack(pack.pk, {"visibility": "private"})

    share, key = await query(prepare)
    async with LiveClient(server.pack_url(pack), key=key) as viewer:
        await viewer.connect()
        await query(lose, share)
        assert await viewer.closed(patience=5) == 4404
