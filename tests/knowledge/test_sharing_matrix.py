"""Who may do what: every route of packs and every method that the URL configuration gives it, for everybody there is.

To add a route, add a row for each of its methods to ``ROWS``, and to ``ids`` what its path names beside ``pk``. A route or a method
without a row fails, and so does a row without a route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
import pytest
from django.conf import LazySettings
from django.db import transaction
from django.urls import URLPattern, reverse

from accounts.models import User
from accounts.services import create_api_key
from knowledge import services
from knowledge.api.urls import urlpatterns
from knowledge.models import Entry, Import, KnowledgePack
from realtime.db import query
from tests.conftest import Api
from tests.knowledge.conftest import ITEMS, index_all
from tests.realtime.live import LiveServer
from tests.support.ws_client import LiveClient

WHO = ("owner", "editor", "viewer", "stranger", "staff", "anonymous")
RANK = {"viewer": 1, "editor": 2, "owner": 3}
Ids = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """``needs``: the least role (None: to be signed in), which answers ``ok``; a lesser one is 403. ``differs`` where a person
    is answered otherwise. ``body`` may be made of the ids. ``live`` is a stream, tested at the end."""

    needs: str | None = "viewer"
    ok: int = 200
    body: Any = None
    query: str = ""
    differs: Mapping[str, int] = field(default_factory=dict)
    before: Callable[[Ids], object] | None = None
    live: bool = False

    def expected(self, who: str, *, public: bool = False) -> int:
        if who == "anonymous":
            return 401
        role = "viewer" if public and who in ("stranger", "staff") else who
        if role in self.differs:
            return self.differs[role]
        if self.needs is None:
            return self.ok
        if role not in RANK:
            return 404
        return self.ok if RANK[role] >= RANK[self.needs] else 403


OTHERS = dict.fromkeys(("viewer", "stranger", "staff"), 404)
ROWS: dict[tuple[str, str], Row] = {
    ("knowledge-packs", "GET"): Row(None),
    ("knowledge-packs", "POST"): Row(None, 201, {"name": "New"}),
    ("knowledge-pack", "GET"): Row(),
    ("knowledge-pack", "PATCH"): Row("editor", 200, {"name": "Renamed"}),
    ("knowledge-pack", "DELETE"): Row("owner", 204),
    ("knowledge-entries", "GET"): Row(),
    ("knowledge-entries", "POST"): Row("editor", 201, {"title": "t", "content": "c"}),
    ("knowledge-search", "GET"): Row(query="?q=bread"),
    ("knowledge-events", "GET"): Row(),
    ("knowledge-stream", "GET"): Row(live=True),
    ("knowledge-stats", "GET"): Row(),
    ("knowledge-restore", "POST"): Row(
        "owner", differs={"editor": 404, **OTHERS}, before=lambda ids: services.delete_pack(ids["pk"])
    ),
    ("knowledge-shares", "GET"): Row(),
    ("knowledge-shares", "POST"): Row("owner", 201, {"email": "stranger@example.org", "role": "viewer"}),
    # The share is the editor's: they may leave, others do not even see it.
    ("knowledge-share", "PATCH"): Row("owner", 200, {"role": "viewer"}, differs=OTHERS),
    ("knowledge-share", "DELETE"): Row("editor", 204, differs=OTHERS),
    ("knowledge-transfer", "POST"): Row("owner", 200, {"email": "stranger@example.org"}),
    ("knowledge-snapshots", "GET"): Row(),
    ("knowledge-snapshots", "POST"): Row("editor", 201, {"label": "v2"}),
    ("knowledge-snapshot", "GET"): Row(),
    ("knowledge-snapshot", "DELETE"): Row("owner", 204),
    ("knowledge-fork", "POST"): Row("viewer", 201, {"name": "Copy"}),
    ("knowledge-search-several", "GET"): Row(query="?q=bread&packs={pk}"),
    ("knowledge-export", "GET"): Row(query="?format=jsonl"),
    # Entries one by one
    ("knowledge-entry", "GET"): Row(),
    ("knowledge-entry", "PATCH"): Row("editor", 200, {"title": "Another title"}),
    ("knowledge-entry", "DELETE"): Row("editor", 204),
    ("knowledge-entry-restore", "POST"): Row("editor", before=lambda ids: services.delete_entry(ids["entry"])),
    ("knowledge-entry-retry", "POST"): Row("editor", 409),  # it has not failed
    ("knowledge-entries-bulk", "POST"): Row(
        "editor", 207, lambda ids: {"action": "tag", "ids": [str(ids["entry"])], "tags": ["new"]}
    ),
    ("knowledge-entries-reorder", "POST"): Row("editor", 200, lambda ids: {"ids": [str(ids["entry"])], "before": None}),
    ("knowledge-revisions", "GET"): Row(),
    ("knowledge-revision", "GET"): Row(),
    ("knowledge-revision-diff", "GET"): Row(),
    ("knowledge-revision-revert", "POST"): Row("editor", 200),
    # Quality
    ("golden-questions", "GET"): Row(),
    ("golden-questions", "POST"): Row(
        "editor", 201, lambda ids: {"question": "Else?", "expected": [str(ids["entry"])]}
    ),
    ("golden-question", "GET"): Row(),
    ("golden-question", "PATCH"): Row("editor", 200, {"question": "Which?"}),
    ("golden-question", "DELETE"): Row("editor", 204),
    ("evaluations", "GET"): Row(),
    ("evaluations", "POST"): Row("editor", 201, {}),
    ("evaluation", "GET"): Row(),
    ("knowledge-searches", "GET"): Row("editor"),
    ("knowledge-searches-summary", "GET"): Row("editor"),
    ("review-queue", "GET"): Row("editor"),
    ("review-queue", "POST"): Row("editor", 200, lambda ids: {"reviewed": [str(ids["entry"])]}),
    # Embedding spaces
    ("embedding-models", "GET"): Row(None),
    ("knowledge-embedding", "GET"): Row(),
    ("knowledge-embedding", "PATCH"): Row("editor", 202, {"model": None}),
    ("knowledge-embedding-migration", "DELETE"): Row("editor", 409),  # there is none
    # Imports
    ("knowledge-imports", "GET"): Row(),
    ("knowledge-imports", "POST"): Row(
        "editor", 400, {}
    ),  # neither a file nor addresses; a viewer does not come so far
    ("knowledge-import", "GET"): Row(),
    ("knowledge-import-items", "GET"): Row(),
    ("knowledge-import-commit", "POST"): Row("editor", 202),
    ("knowledge-import-cancel", "POST"): Row("editor", 200),
}


@dataclass(frozen=True)
class World:
    pack: KnowledgePack
    ids: Ids
    keys: Mapping[str, str | None]


def build() -> World:
    people = {
        who: User.objects.create_user(
            f"{who}@example.org", "correct horse battery", is_staff=who == "staff", is_superuser=who == "staff"
        )
        for who in WHO[:-1]
    }
    pack = services.create_pack(people["owner"], name="Shared")
    services.add_entries(pack, people["owner"], ITEMS)
    index_all(pack)
    shares = [services.share(pack.pk, None, people[role].email, role)[0] for role in ("editor", "viewer")]
    ids = {
        "pk": pack.pk,
        "share": shares[0].pk,
        "snapshot": services.publish(pack.pk, None, "v1").pk,
        "entry": (entry := Entry.objects.filter(pack=pack).earliest("ordinal").pk),
        "n": 1,
        "question": services.add_golden_question(pack.pk, people["owner"], question="What?", expected=[entry]).pk,
        "evaluation": services.evaluate(pack, None, "lexical").pk,
        "import_id": Import.objects.create(pack=pack, status="planned", dry_run=True, filename="notes.md").pk,
    }
    keys: dict[str, str | None] = {who: create_api_key(person, "matrix")[1] for who, person in people.items()}
    return World(pack, ids, {**keys, "anonymous": None})


@pytest.fixture
def world(db: None) -> World:
    return build()


def methods(pattern: URLPattern) -> set[str]:
    view = getattr(pattern.callback, "cls", None)
    if view is None:
        return {"GET"}  # a stream
    return {name.upper() for name in view.http_method_names if hasattr(view, name)} - {"OPTIONS", "HEAD"}


def address(name: str, ids: Ids) -> str:
    pattern = next(pattern for pattern in urlpatterns if pattern.name == name)
    return reverse(name, kwargs={key: ids[key] for key in pattern.pattern.converters})


def test_every_route_has_its_rows_and_every_row_its_route() -> None:
    named = {(pattern.name, method) for pattern in urlpatterns if pattern.name for method in methods(pattern)}
    assert named == set(ROWS)
    callbacks = {pattern.callback for pattern in urlpatterns if pattern.name}
    assert {pattern.callback for pattern in urlpatterns} == callbacks  # the forms with a slash lead nowhere else


@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
@pytest.mark.parametrize("key", [key for key, row in ROWS.items() if not row.live], ids=" ".join)
def test_each_is_answered_as_the_table_says(world: World, key: tuple[str, str], public: bool) -> None:
    name, method = key
    row = ROWS[key]
    if public:
        services.update_pack(world.pack.pk, {"visibility": "public"})
    if row.before:
        row.before(world.ids)
    path = address(name, world.ids) + row.query.format(**world.ids)
    body = row.body(world.ids) if callable(row.body) else row.body
    answers = {who: answer(Api(world.keys[who]), method, path, body) for who in WHO}
    assert answers == {who: row.expected(who, public=public) for who in WHO}


def answer(api: Api, method: str, path: str, body: Any) -> int:
    """The status; what the request changed is taken back."""
    with transaction.atomic():
        status = int(api(method, path, body).status_code)
        transaction.set_rollback(True)
    return status


# --- The stream and the socket --------------------------------------------------------------------------------------


@pytest.fixture
def server(transactional_db: None, settings: LazySettings) -> Iterator[LiveServer]:
    settings.ROOT_URLCONF = "tests.realtime.urls"
    server = LiveServer()
    server.start()
    yield server
    server.stop()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
async def test_sockets_and_streams_open_for_readers_only(server: LiveServer, public: bool) -> None:
    world = await query(build)
    if public:
        await query(lambda: services.update_pack(world.pack.pk, {"visibility": "public"}))
    row = ROWS["knowledge-stream", "GET"]
    expected = {who: row.expected(who, public=public) for who in WHO}
    path = address("knowledge-stream", world.ids)
    assert {who: await streamed(server.url + path, world.keys[who]) for who in WHO} == expected
    socket = {200: 0, 401: 4401, 404: 4404}
    seen = {who: await socketed(server.pack_url(world.pack), world.keys[who]) for who in WHO}
    assert seen == {who: socket[status] for who, status in expected.items()}


async def streamed(url: str, key: str | None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url, headers=headers) as response:
        return int(response.status_code)


async def socketed(url: str, key: str | None) -> int:
    """0 for a welcome, otherwise the code that the socket was closed with."""
    async with LiveClient(url, key=key) as client:
        await client.open()
        await client.send(client.hello())
        return await closed_or_welcome(client)


async def closed_or_welcome(client: LiveClient) -> int:
    from websockets.exceptions import ConnectionClosed

    try:
        return 0 if (await client.receive())["t"] == "welcome" else -1
    except ConnectionClosed:
        return await client.closed()
