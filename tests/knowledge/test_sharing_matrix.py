"""Who may do what: every route of packs and every method that the URL configuration gives it, for everybody there is.

To add a route, add a row for each of its methods to ``ROWS``, and to ``ids`` what its path names beside ``pk``. A route or a method
without a row fails, and so does a row without a route.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
import pytest
from django.conf import LazySettings
from django.db import transaction
from django.urls import URLPattern, reverse

from config.sockets import websocket
from council import services as councils
from knowledge import services
from knowledge.api.urls import urlpatterns
from knowledge.models import Entry, KnowledgePack
from realtime.db import query
from tests.conftest import Api
from tests.knowledge.shared_pack import RANK, WHO, Ids, World, build, fill, others_addresses
from tests.realtime.live import LiveServer
from tests.support.access import METHODS, writes
from tests.support.ws_client import LiveClient


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

    def sent(self, ids: Ids) -> Any:
        return self.body(ids) if callable(self.body) else self.body

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


@pytest.fixture
def world(db: None) -> Iterator[World]:
    logging.disable(logging.CRITICAL)  # a line for each of a thousand refusals
    yield build()
    logging.disable(logging.NOTSET)


def methods(pattern: URLPattern) -> set[str]:
    view = getattr(pattern.callback, "cls", None)
    if view is None:
        return {"GET"}  # a stream
    return {name.upper() for name in view.http_method_names if hasattr(view, name)} - {"OPTIONS", "HEAD"}


def converters(name: str) -> set[str]:
    return set(next(pattern for pattern in urlpatterns if pattern.name == name).pattern.converters)


def address(name: str, ids: Ids) -> str:
    return reverse(name, kwargs={key: ids[key] for key in converters(name)})


def test_every_route_has_its_rows_and_every_row_its_route() -> None:
    named = {(pattern.name, method) for pattern in urlpatterns if pattern.name for method in methods(pattern)}
    assert named == set(ROWS)
    callbacks = {pattern.callback for pattern in urlpatterns if pattern.name}
    assert {pattern.callback for pattern in urlpatterns} == callbacks  # the forms with a slash lead nowhere else


@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
def test_each_is_answered_as_the_table_says(world: World, public: bool) -> None:
    if public:
        services.update_pack(world.pack.pk, {"visibility": "public"})
    apis, faults = {who: Api(key) for who, key in world.keys.items()}, []
    for (name, method), row in ROWS.items():
        if row.live:
            continue
        with taken_back():
            if row.before:
                row.before(world.ids)
            path = address(name, world.ids) + row.query.format(**world.ids)
            for who in WHO:
                status, written, content = answer(apis[who], method, path, row.sent(world.ids))
                wanted = row.expected(who, public=public)
                if status != wanted:
                    faults.append(f"{method} {path} by {who}: {status} instead of {wanted}")
                if written and (method == "GET" or status >= 300):
                    faults.append(f"{method} {path} by {who}: {status}, and wrote {sorted(written)}")
                if who != "owner" and (shown := others_addresses(who, content)):
                    faults.append(f"{method} {path} by {who}: shows the addresses of {shown}")
    assert not faults, "\n" + "\n".join(faults)


def test_other_methods_are_refused(world: World) -> None:
    api, names = Api(world.keys["owner"]), dict.fromkeys(name for name, _ in ROWS)
    for name in names:
        others = {method for method in METHODS if (name, method) not in ROWS} - {"HEAD", "OPTIONS"}
        answers = {method: answer(api, method, address(name, world.ids), None)[:2] for method in others}
        assert answers == {method: (405, set()) for method in others}, name


@contextmanager
def taken_back() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def answer(api: Api, method: str, path: str, body: Any) -> tuple[int, set[str], bytes]:
    """The status, the tables that the request wrote to, and what it says; what it changed is taken back."""
    with taken_back(), writes() as written:
        response = api(method, path, body)
        content = b"".join(response.streaming_content) if response.streaming else response.content
    written -= {"accounts_apikey"}  # when the key was used last
    if response.status_code < 300 and method == "GET":
        written -= {"accounts_auditentry"}  # who took a pack out
    return int(response.status_code), written, content


def test_what_a_role_may_not_ask_of_a_route_that_it_may_use(world: World) -> None:
    pack = address("knowledge-pack", world.ids)
    asked = [
        ("editor", "PATCH", pack, {"visibility": "public"}, 403),
        ("editor", "PATCH", pack, {"gate_publishing": 0.5}, 403),
        ("editor", "PATCH", pack, {"status": "deleted"}, 400),
        ("viewer", "GET", f"{pack}/entries?trash=true", None, 403),
        ("editor", "GET", f"{pack}/entries?trash=true", None, 200),
        ("stranger", "GET", "/api/knowledge-packs?scope=all", None, 200),
        ("stranger", "GET", "/api/knowledge-packs?trash=true", None, 200),
    ]
    for who, method, path, body, wanted in asked:
        status, written, content = answer(Api(world.keys[who]), method, path, body)
        assert (status, written) == (wanted, set()), f"{method} {path} {body} by {who}"
        assert who != "stranger" or b"Shared" not in content


# --- Ids of other packs -----------------------------------------------------------------------------------------------


def state(pack: KnowledgePack) -> list[Any]:
    """Everything of a pack that people see, to compare."""
    rows = [KnowledgePack.objects.filter(pk=pack.pk), Entry.objects.filter(pack=pack)]
    rows += [
        getattr(pack, name).all() for name in ("golden_questions", "snapshots", "imports", "shares", "evaluations")
    ]
    return [list(some.order_by("pk").values()) for some in rows] + [pack.events.count()]


@pytest.fixture
def mine(world: World) -> dict[str, Any]:
    """The ids of a pack of the stranger's own."""
    pack = services.create_pack(world.people["stranger"], name="Mine")
    return {"pk": pack.pk, **fill(pack)}


def test_what_is_in_another_pack_is_not_reached_through_ones_own(world: World, mine: dict[str, Any]) -> None:
    """Every route that names something in a pack: with one's own pack and somebody else's thing, and the other way round."""
    api, before, tried = Api(world.keys["stranger"]), state(world.pack), 0
    for (name, method), row in ROWS.items():
        keys = converters(name) - {"pk", "n"}
        if not keys:
            continue
        tried += 1
        mixed = [
            {**world.ids, "pk": mine["pk"]},
            {**mine, **{key: mine.get(key, world.ids[key]) for key in keys}, "pk": world.pack.pk},
        ]
        if "n" in converters(name):
            mixed.append({**mine, "n": 99})  # a revision that only another entry has
        for ids in mixed:
            path = address(name, ids)
            assert answer(api, method, path, row.sent(ids))[:2] == (404, set()), f"{method} {path}"
    assert tried > 20
    assert state(world.pack) == before


@dataclass(frozen=True)
class Foreign:
    """A request in one's own pack that names something of another one in its query or body. ``status``: of the answer."""

    name: str
    method: str
    status: int
    body: Callable[[Ids, Ids], Any] = lambda _mine, _theirs: None
    query: str = ""


def bulk(action: str, **extra: Any) -> Callable[[Ids, Ids], Any]:
    return lambda mine, theirs: {"action": action, "ids": [str(theirs["entry"])], **extra}


FOREIGN = [
    *(
        Foreign("knowledge-entries-bulk", "POST", 207, bulk(action))
        for action in ("enable", "disable", "delete", "restore", "retry", "review")
    ),
    Foreign("knowledge-entries-bulk", "POST", 207, bulk("tag", tags=["x"])),
    Foreign("knowledge-entries-bulk", "POST", 207, bulk("untag", tags=["energy"])),
    Foreign(
        "knowledge-entries-bulk",
        "POST",
        404,
        lambda mine, theirs: {"action": "move", "ids": [str(mine["entry"])], "to": str(theirs["pk"])},
    ),
    Foreign(
        "knowledge-entries-reorder", "POST", 400, lambda mine, theirs: {"ids": [str(theirs["entry"])], "before": None}
    ),
    Foreign(
        "knowledge-entries-reorder",
        "POST",
        400,
        lambda mine, theirs: {"ids": [str(mine["entry"])], "before": str(theirs["entry"])},
    ),
    Foreign(
        "golden-questions", "POST", 400, lambda mine, theirs: {"question": "Else?", "expected": [str(theirs["entry"])]}
    ),
    Foreign("golden-question", "PATCH", 400, lambda mine, theirs: {"expected": [str(theirs["entry"])]}),
    Foreign("review-queue", "POST", 400, lambda mine, theirs: {"reviewed": [str(theirs["entry"])]}),
    Foreign("knowledge-fork", "POST", 404, lambda mine, theirs: {"name": "Copy", "snapshot": str(theirs["snapshot"])}),
    Foreign("knowledge-search", "GET", 404, query="?q=bread&snapshot={snapshot}"),
    Foreign("knowledge-search-several", "GET", 404, query="?q=bread&packs={mine},{pk}"),
    Foreign("knowledge-revision-diff", "GET", 404, query="?against=99"),
    Foreign("knowledge-entry", "PATCH", 400, lambda mine, theirs: {"pack": str(theirs["pk"])}),
    Foreign(
        "knowledge-entries", "POST", 400, lambda mine, theirs: {"title": "t", "content": "c", "pack": str(theirs["pk"])}
    ),
    Foreign("knowledge-pack", "PATCH", 400, lambda mine, theirs: {"owner": 1}),
    Foreign(
        "knowledge-packs", "POST", 400, lambda mine, theirs: {"name": "n", "owner": 1, "forked_from": str(theirs["pk"])}
    ),
]


def test_bodies_and_queries_do_not_reach_into_another_pack(world: World, mine: dict[str, Any]) -> None:
    api, before, faults = Api(world.keys["stranger"]), state(world.pack), []
    for one in FOREIGN:
        path = address(one.name, mine) + one.query.format(**{**world.ids, "mine": mine["pk"]})
        with taken_back():
            response = api(one.method, path, one.body(mine, world.ids))
            if response.status_code != one.status:
                faults.append(
                    f"{one.method} {path}: {response.status_code} instead of {one.status}: {response.content!r}"
                )
            if one.status == 207 and {result["status"] for result in response.json()["results"]} != {"failed"}:
                faults.append(f"{one.method} {path}: {response.content!r}")
            if state(world.pack) != before:
                faults.append(f"{one.method} {path}: changed the other pack")
    assert not faults, "\n" + "\n".join(faults)


def test_a_move_takes_the_right_to_edit_both_packs(world: World, mine: dict[str, Any]) -> None:
    """An editor elsewhere, but only a viewer here, can neither take entries out nor bring any in."""
    services.share(mine["pk"], None, "viewer@example.org", "editor")
    api, path = Api(world.keys["viewer"]), "/api/knowledge-packs/{}/entries/bulk"
    out = {"action": "move", "ids": [str(world.ids["entry"])], "to": str(mine["pk"])}
    into = {"action": "move", "ids": [str(mine["entry"])], "to": str(world.pack.pk)}
    assert api.post(path.format(world.pack.pk), out).status_code == 403
    assert api.post(path.format(mine["pk"]), into).status_code == 403


# --- The stream and the socket --------------------------------------------------------------------------------------


@pytest.fixture
def server(transactional_db: None, settings: LazySettings) -> Iterator[LiveServer]:
    settings.ROOT_URLCONF = "tests.realtime.urls"
    server = LiveServer()
    server.start()
    yield server
    server.stop()


def test_every_socket_has_a_stream_and_is_tested_here() -> None:
    assert {str(route.pattern).rstrip("/") for route in websocket.routes} == {
        "ws/knowledge-packs/<uuid:stream_id>",
        "ws/council-sessions/<uuid:stream_id>",
        "ws/me",  # one's own: tests/realtime/test_my_stream.py
        "",  # refuses everything
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
async def test_sockets_and_streams_open_for_readers_only(server: LiveServer, public: bool) -> None:
    """Of the pack for its readers, of a council that reads it for nobody but its convener, who is the viewer here."""
    world = await query(build)
    plan = councils.Plan(question="What?", packs=[world.pack.pk])
    session = await query(lambda: councils.create_session(world.people["viewer"], plan))
    if public:
        await query(lambda: services.update_pack(world.pack.pk, {"visibility": "public"}))
    row = ROWS["knowledge-stream", "GET"]
    readers = {who: row.expected(who, public=public) for who in WHO}
    convener = {who: {"viewer": 200, "anonymous": 401}.get(who, 404) for who in WHO}
    await check_live(server, world, f"knowledge-packs/{world.pack.pk}", readers)
    await check_live(server, world, f"council-sessions/{session.pk}", convener)


async def check_live(server: LiveServer, world: World, path: str, expected: Mapping[str, int]) -> None:
    stream, socket = f"{server.url}/api/{path}/stream", f"{server.url}/ws/{path}"
    assert {who: await streamed(stream, world.keys[who]) for who in WHO} == expected
    code = {200: 0, 401: 4401, 404: 4404}
    seen = {who: await socketed(socket, world.keys[who]) for who in WHO}
    assert seen == {who: code[status] for who, status in expected.items()}


async def streamed(url: str, key: str | None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url, headers=headers) as response:
        return int(response.status_code)


async def socketed(url: str, key: str | None) -> int:
    """0 for a welcome, otherwise the code that the socket was closed with."""
    async with LiveClient(url, key=key) as client:
        await client.open()
        await client.say_hello()
        return await closed_or_welcome(client)


async def closed_or_welcome(client: LiveClient) -> int:
    from websockets.exceptions import ConnectionClosed

    try:
        return 0 if (await client.receive())["t"] == "welcome" else -1
    except ConnectionClosed:
        return await client.closed()
