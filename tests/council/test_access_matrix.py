"""Who may do what with plain pages and councils: every route outside the admin and the API of packs, with every method.

To add a route, add a row for each of its methods to ``PAGES`` (session cookie) or ``API`` (bearer key). A route without a row
fails, and so does a row without a route; a method without one has to be refused. The viewer convenes a council that reads the
owner's pack, so in the rows of councils the pack's owner is a stranger.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import LazySettings
from django.db import transaction
from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey, User
from accounts.webhooks import endpoints as webhooks
from council import evidence
from council import services as councils
from council.models import CouncilSession, Turn
from council.templates import save_template
from knowledge import services
from knowledge.models import Entry, EntryRevision, KnowledgePack
from realtime.ids import uuid7
from tests.conftest import Api
from tests.knowledge.conftest import SOLAR
from tests.knowledge.shared_pack import WHO, Ids, World, build, others_addresses
from tests.knowledge.test_sharing_matrix import ROWS as PACK_ROWS
from tests.support.access import METHODS, routes, writes

pytestmark = pytest.mark.django_db

SIGNED_IN = [who for who in WHO if who != "anonymous"]
READERS, WRITERS = ("owner", "editor", "viewer"), ("owner", "editor")
HERE = "tests/council/test_access_matrix.py"
OF_THE_PACK, OF_THE_COUNCIL = b"Photovoltaic", b"narwhal"


@dataclass(frozen=True)
class Row:
    """``who`` is answered ``ok``, everybody else 404, but for those in ``differs``. ``writes``: the table that one who may do it
    writes to. ``opened``: whether strangers are readers when the pack is public."""

    who: tuple[str, ...]
    ok: int = 200
    form: Callable[[Ids], Mapping[str, Any]] = lambda _: {}
    writes: str = ""
    differs: Mapping[str, int] = field(default_factory=dict)
    opened: bool = True
    before: Callable[[World], object] = lambda _: None
    query: Callable[[Ids], str] = lambda _: ""

    def expected(self, who: str, *, public: bool, anonymous: int) -> int:
        role = "viewer" if public and self.opened and who in ("stranger", "staff") else who
        if role in self.differs:
            return self.differs[role]
        if who == "anonymous":
            return anonymous
        return self.ok if role in self.who else 404


def start(world: World) -> None:
    councils.start(world.people["viewer"], world.ids["session_id"])


def start_and_pause(world: World) -> None:
    start(world)
    councils.pause(world.people["viewer"], world.ids["session_id"])


def ask_a_person(world: World) -> None:
    """The council runs, and a turn of it with the id that the addresses have waits for a person."""
    session = CouncilSession.objects.get(pk=world.ids["session_id"])
    session.seats.filter(name="B").update(model="human")
    start(world)
    Turn.objects.filter(session=session, human=True).update(id=world.ids["turn_id"])


def open_a_gate(world: World) -> None:
    ask_a_person(world)
    Turn.objects.filter(pk=world.ids["turn_id"]).update(kind="gate", seat=None)


ANSWER = {"answer": "So.", "confidence": 0.5, "claims": [], "would_change": ""}
HOOK: dict[str, Any] = {"url": "https://hooks.example.org/", "events": ["pack.*"]}
EVERYBODY = tuple(SIGNED_IN)
CONVENER = ("viewer",)
UNKNOWN_PACK = dict.fromkeys(("stranger", "staff"), 400)

PAGES: dict[tuple[str, str], Row] = {
    ("pages:home", "GET"): Row(EVERYBODY),
    ("pages:pack_new", "GET"): Row(EVERYBODY),
    ("pages:pack_new", "POST"): Row(
        EVERYBODY, 302, lambda _: {"name": "New", "language": "english"}, "knowledge_knowledgepack"
    ),
    ("pages:pack", "GET"): Row(READERS, query=lambda _: "?q=sunlight"),
    ("pages:entries", "GET"): Row(READERS),
    ("pages:entries", "POST"): Row(
        WRITERS, 302, lambda _: {"title": "New", "content": "New."}, "knowledge_entry", {"viewer": 403}
    ),
    ("pages:entry", "GET"): Row(READERS, query=lambda ids: f"?revision={ids['revision']}&start=0&end=5"),
    ("pages:council_new", "GET"): Row(EVERYBODY),
    # A public pack of somebody else's is convened on through the API; the form offers the packs that one works with.
    ("pages:council_new", "POST"): Row(
        READERS,
        302,
        lambda ids: {"question": "Else?", "packs": [ids["pk"]], "then": "keep"},
        "council_councilsession",
        UNKNOWN_PACK,
        opened=False,
    ),
    ("pages:council", "GET"): Row(CONVENER, opened=False),
    ("pages:council_claims", "GET"): Row(CONVENER, opened=False),
    ("pages:council_start", "POST"): Row(CONVENER, 302, writes="council_run", opened=False),
    ("pages:council_pause", "POST"): Row(CONVENER, 302, writes="council_run", opened=False, before=start),
    ("pages:council_resume", "POST"): Row(CONVENER, 302, writes="council_run", opened=False, before=start_and_pause),
    ("pages:council_stop", "POST"): Row(CONVENER, 302, writes="council_run", opened=False, before=start),
    ("pages:council_message", "POST"): Row(
        CONVENER, 302, lambda _: {"content": "Hm.", "kind": "note"}, "council_message", opened=False
    ),
    ("pages:council_waiting", "GET"): Row(CONVENER, writes="council_turn", opened=False, before=ask_a_person),
    ("pages:council_turn", "POST"): Row(
        CONVENER,
        302,
        lambda _: {"answer": "So.", "confidence": "50"},
        "council_turn",
        opened=False,
        before=ask_a_person,
    ),
    ("pages:council_gate", "POST"): Row(
        CONVENER, 302, lambda _: {"decision": "stop"}, "council_turn", opened=False, before=open_a_gate
    ),
    ("pages:council_fork", "POST"): Row(
        CONVENER, 302, lambda _: {"after_round": "0"}, "council_councilsession", opened=False
    ),
    # A draft has nothing to reconsider and nobody to ask: the page that follows says so.
    ("pages:council_reconsider", "POST"): Row(CONVENER, 302, opened=False),
    ("pages:council_ask", "POST"): Row(CONVENER, 302, lambda _: {"question": "Why?"}, opened=False),
    ("accounts:logout", "POST"): Row(EVERYBODY, 302, writes="accounts_auditentry", differs={"anonymous": 302}),
    ("accounts:logout", "OPTIONS"): Row(EVERYBODY, 200, differs={"anonymous": 200}),
    ("accounts:keys", "GET"): Row(EVERYBODY),
    ("accounts:keys", "POST"): Row(
        EVERYBODY, 200, lambda _: {"name": "New", "scopes": ["packs:read"]}, "accounts_apikey"
    ),
    ("accounts:rotate_key", "POST"): Row(CONVENER, 200, lambda _: {"overlap": "3600"}, "accounts_apikey", opened=False),
    ("accounts:revoke_key", "POST"): Row(CONVENER, 302, writes="accounts_apikey", opened=False),
}
API: dict[tuple[str, str], Row] = {
    ("session-list", "GET"): Row(EVERYBODY),
    ("session-list", "POST"): Row(
        READERS, 201, lambda ids: {"question": "Else?", "packs": [ids["pk"]]}, "council_councilsession", UNKNOWN_PACK
    ),
    ("session", "GET"): Row(CONVENER, opened=False),
    ("session", "PATCH"): Row(
        CONVENER,
        200,
        lambda ids: {"packs": [{"id": ids["pk"], "snapshot": "v1"}]},
        "council_councilsession",
        opened=False,
    ),
    ("session-start", "POST"): Row(CONVENER, 202, writes="council_run", opened=False),
    ("session-pause", "POST"): Row(CONVENER, 202, writes="council_run", opened=False, before=start),
    ("session-resume", "POST"): Row(CONVENER, 202, writes="council_run", opened=False, before=start_and_pause),
    ("session-stop", "POST"): Row(CONVENER, 202, writes="council_run", opened=False, before=start),
    ("session-message", "POST"): Row(
        CONVENER, 201, lambda _: {"content": "Hm."}, writes="council_message", opened=False
    ),
    ("session-turns", "GET"): Row(CONVENER, opened=False, before=ask_a_person, query=lambda _: "?waiting=true"),
    # What is found for a person is kept the first time.
    ("session-turn", "GET"): Row(CONVENER, writes="council_turn", opened=False, before=ask_a_person),
    ("session-turn", "POST"): Row(CONVENER, 200, lambda _: ANSWER, "council_turn", opened=False, before=ask_a_person),
    ("session-gate", "GET"): Row(CONVENER, opened=False, before=open_a_gate),
    ("session-gate", "POST"): Row(
        CONVENER, 200, lambda _: {"decision": "stop"}, "council_turn", opened=False, before=open_a_gate
    ),
    ("session-events", "GET"): Row(CONVENER, opened=False),
    # A draft has nothing to count, and nothing that could be taken apart.
    ("session-recount", "GET"): Row(CONVENER, 409, opened=False, query=lambda _: "?rule=borda"),
    ("session-candidates-split", "POST"): Row(CONVENER, 409, lambda _: {"candidate": "a1"}, opened=False),
    ("session-fork", "POST"): Row(CONVENER, 201, lambda _: {}, "council_councilsession", opened=False),
    ("session-reconsider", "POST"): Row(CONVENER, 409, opened=False),
    ("session-seat-ask", "POST"): Row(CONVENER, 409, lambda _: {"question": "Why?"}, opened=False),
    ("session-effective-votes", "GET"): Row(CONVENER, opened=False),
    ("session-claims", "GET"): Row(CONVENER, opened=False),
    ("session-export", "GET"): Row(
        CONVENER, writes="accounts_auditentry", opened=False, query=lambda _: "?format=json&prompts=true"
    ),
    ("session-export-schema", "GET"): Row(EVERYBODY),
    ("session-template", "GET"): Row(CONVENER, opened=False),
    ("ticket", "POST"): Row(EVERYBODY, 201),
    ("me-api-keys", "GET"): Row(EVERYBODY),
    ("me-api-keys", "POST"): Row(
        EVERYBODY, 201, lambda _: {"name": "New", "scopes": ["packs:read"]}, "accounts_auditentry"
    ),
    ("me-api-key", "GET"): Row(CONVENER, opened=False),
    ("me-api-key", "PATCH"): Row(CONVENER, 200, lambda _: {"name": "New"}, "accounts_auditentry", opened=False),
    ("me-api-key", "DELETE"): Row(CONVENER, 204, writes="accounts_auditentry", opened=False),
    ("me-api-key-rotate", "POST"): Row(CONVENER, 200, writes="accounts_auditentry", opened=False),
    ("me-webhooks", "GET"): Row(EVERYBODY),
    ("me-webhooks", "POST"): Row(EVERYBODY, 201, lambda _: HOOK, "accounts_webhookendpoint"),
    ("me-webhook", "GET"): Row(CONVENER, opened=False),
    ("me-webhook", "PATCH"): Row(
        CONVENER, 200, lambda _: {"description": "New"}, "accounts_webhookendpoint", opened=False
    ),
    ("me-webhook", "DELETE"): Row(CONVENER, 204, writes="accounts_webhookendpoint", opened=False),
    ("me-webhook-rotate", "POST"): Row(CONVENER, 200, writes="accounts_webhookendpoint", opened=False),
    ("me-webhook-test", "POST"): Row(CONVENER, 202, writes="accounts_webhookdelivery", opened=False),
    ("me-webhook-deliveries", "GET"): Row(CONVENER, opened=False, query=lambda _: "?state=failed"),
    ("me-webhook-replay", "POST"): Row(CONVENER, 202, writes="accounts_webhookdelivery", opened=False),
    # Everybody's own, so nobody is refused; that it is theirs alone is tested in tests/realtime/test_my_stream.py.
    ("me-events", "GET"): Row(EVERYBODY),
    ("me-usage", "GET"): Row(EVERYBODY),
    ("me", "GET"): Row(EVERYBODY),
    ("me", "DELETE"): Row((), differs=dict.fromkeys(SIGNED_IN, 403)),  # people alone: tests/accounts/test_departures.py
    ("me", "PATCH"): Row(EVERYBODY, 200, lambda _: {"name": "New"}, "accounts_user"),
    ("me-notifications-read", "POST"): Row(EVERYBODY, 200, lambda _: {"up_to": 0}),
    ("audit", "GET"): Row(
        ("staff",), differs=dict.fromkeys(("owner", "editor", "viewer", "stranger"), 403), opened=False
    ),
}
# Open to everybody, and nothing of anybody in them.
OPEN = {"schema", "api-docs", "api-redoc", "asyncapi", "asyncapi-yaml", "livez", "readyz"}
DOORS = {"accounts:login", "no-phones"}  # tests/accounts
PERSONS = {"me-sessions", "me-session"}  # not for keys: tests/accounts/test_logins.py
PERSONS |= {"me-export", "me-export-one", "me-export-file", "me-deletion"}  # test_exports.py, test_departures.py
PERSONS |= {"me-activity"}  # tests/realtime/test_activity.py
# In tests/knowledge/test_sharing_matrix.py and tests/realtime/test_my_stream.py, with a server and sockets.
LIVE = {"session-stream", "knowledge-stream", "me-stream"}


@pytest.fixture(autouse=True)
def quiet(settings: LazySettings) -> Iterator[None]:
    """A model to start with, which nobody asks in here; and no log of each of a thousand refusals."""
    settings.LLM_BASE_URL, settings.LLM_MODEL = "http://127.0.0.1:1/v1", "fake"
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def world(db: None) -> World:
    made = build()
    viewer = made.people["viewer"]
    save_template(None, slug="pair", agents=[{"name": "A"}, {"name": "B"}], title="A pair")
    plan = councils.Plan(question="Which narwhal?", packs=[made.pack.pk], template="pair")
    session = councils.create_session(viewer, plan)
    ids = {
        "pack_id": made.pack.pk,
        "entry_id": made.ids["entry"],
        "revision": EntryRevision.objects.get(entry=made.ids["entry"]).pk,
        "session_id": session.pk,
        "turn_id": uuid7(),
        "seat": session.seats.get(position=0).pk,
        "key_id": ApiKey.objects.get(user=viewer).pk,
        **webhook_of(viewer),
    }
    return World(made.pack, {**made.ids, **ids}, made.people, made.keys)


def webhook_of(user: User) -> Ids:
    """A webhook of theirs, and a message that did not get through."""
    endpoint, _ = webhooks.create(user, **HOOK)
    failed = endpoint.deliveries.create(type="webhook.test", payload={}, state="failed", next_attempt_at=None)
    return {"hook_id": endpoint.pk, "delivery_id": failed.pk}


def address(name: str, ids: Ids) -> str:
    route = next(route for route in routes() if route.name == name)
    named = {**ids, "pk": ids["session_id"]} if name in {key for key, _ in API} else ids
    if name.startswith("me-api-key"):
        named = {**ids, "pk": ids["key_id"]}
    if name.startswith("me-webhook"):
        named = {**ids, "pk": ids["hook_id"]}
    return reverse(name, kwargs={key: named[key] for key in route.keys})


# --- Nothing is forgotten ---------------------------------------------------------------------------------------------


def test_every_route_has_its_rows() -> None:
    every = [route for route in routes() if not route.path.startswith("admin/")]
    # allauth's, one by one in tests/accounts/test_allauth.py
    allauth = {route.name for route in every if route.pattern.callback.__module__.startswith("allauth.")}
    elsewhere = {name for name, _ in PACK_ROWS} | LIVE | OPEN | DOORS | PERSONS | allauth
    known = {name for name, _ in PAGES | API} | elsewhere
    missing = "\n".join(
        f'  ("{route.name}", "GET"): Row(who may, ok=status, form=…, writes="table"),   # /{route.path}'
        for route in every
        if route.name and route.name not in known
    )
    assert not missing, f"Routes that nobody has said of who may use them. Add to PAGES or API in {HERE}:\n{missing}"
    assert known == {route.name for route in every if route.name}, "rows without a route"
    named = {route.pattern.callback for route in every if route.name}
    unnamed = {route.path for route in every if route.pattern.callback not in named}
    assert unnamed == {r"^api(?:/(?P<rest>.*))?$"}  # the forms with a slash lead nowhere else


# --- Pages ------------------------------------------------------------------------------------------------------------


def signed_in(world: World, **options: Any) -> dict[str, Client]:
    clients = {who: Client(raise_request_exception=False, **options) for who in WHO}
    for who in SIGNED_IN:
        clients[who].force_login(world.people[who], backend="django.contrib.auth.backends.ModelBackend")
    return clients


def ask(client: Client, method: str, path: str, form: Mapping[str, Any]) -> tuple[Any, set[str]]:
    """The answer and the tables that were written to; both are taken back, signing out as well."""
    kept = SimpleCookie(client.cookies)
    try:
        with transaction.atomic(), writes() as written:
            response = client.post(path, form) if method == "POST" else client.generic(method, path)
            transaction.set_rollback(True)
    finally:
        client.cookies = kept
    return response, written


@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
def test_pages_answer_as_the_table_says(world: World, public: bool) -> None:
    if public:
        services.update_pack(world.pack.pk, {"visibility": "public"})
    clients = signed_in(world)
    faults: list[str] = []
    for name in dict.fromkeys(name for name, _ in PAGES):
        path = address(name, world.ids)
        for method in METHODS:
            row = PAGES.get((name, "GET" if method == "HEAD" else method))
            for who in WHO if row else (*CONVENER, "anonymous"):
                client = clients[who]
                with transaction.atomic():
                    if row:
                        row.before(world)
                    form, query = (row.form(world.ids), row.query(world.ids)) if row else ({}, "")
                    response, written = ask(client, method, path + query, form)
                    transaction.set_rollback(True)
                wanted = row.expected(who, public=public, anonymous=302) if row else 405
                allowed = {wanted} if row or who != "anonymous" else {405, 302}
                faults += judged(f"{method} {path} by {who}", response, written, allowed, row, public)
                away = who == "anonymous" and response.status_code == 302 and path != "/accounts/logout"
                if away and response["Location"] != f"/accounts/login?next={quote(path + query, safe='/')}":
                    faults.append(f"{method} {path} by {who}: led to {response['Location']}, not to sign in")
    assert not faults, "\n" + "\n".join(faults)


def judged(
    what: str, response: Any, written: set[str], allowed: set[int], row: Row | None, public: bool
) -> Iterator[str]:
    """What is wrong with the answer: its status, what it wrote, or what it says to somebody who may not know it."""
    who, method = what.rpartition(" ")[2], what.partition(" ")[0]
    if response.status_code not in allowed:
        yield f"{what}: {response.status_code} instead of {sorted(allowed)}"
    may = row is not None and response.status_code == row.ok and who in (*row.who, "stranger", "staff")
    if may and row and row.writes and method not in ("GET", "HEAD") and row.writes not in written:
        yield f"{what}: wrote {sorted(written)} and not {row.writes}, so its refusals prove nothing"
    if written and not (may and row and row.writes):
        yield f"{what}: wrote {sorted(written)}"
    content = b"" if response.streaming else response.content
    if who not in READERS and not public and OF_THE_PACK in content:
        yield f"{what}: shows what the pack says"
    if who not in CONVENER and OF_THE_COUNCIL in content:
        yield f"{what}: shows the council"
    if shown := others_addresses(who, content):
        yield f"{what}: shows {shown}"


def test_forms_need_the_token(world: World) -> None:
    clients = signed_in(world, enforce_csrf_checks=True)
    posts = [(name, row) for (name, method), row in PAGES.items() if method == "POST"]
    for name, row in posts:
        who = "owner" if "owner" in row.who else "viewer"
        response, written = ask(clients[who], "POST", address(name, world.ids), row.form(world.ids))
        assert (response.status_code, written) == (403, set()), name


# --- The API of councils ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("public", [False, True], ids=["private", "public"])
def test_the_api_of_councils_answers_as_the_table_says(world: World, public: bool) -> None:
    if public:
        services.update_pack(world.pack.pk, {"visibility": "public"})
    apis = {who: Api(key) for who, key in world.keys.items()}
    faults: list[str] = []
    for name in dict.fromkeys(name for name, _ in API):
        path = address(name, world.ids)
        for method in (one for one in METHODS if one not in ("HEAD", "OPTIONS", "TRACE")):
            row = API.get((name, method))
            for who in WHO if row else CONVENER:
                with transaction.atomic(), writes() as written:
                    if row:
                        row.before(world)
                        written.clear()
                    body = jsonable(row.form(world.ids)) if row and method in ("POST", "PATCH") else None
                    query = row.query(world.ids) if row else ""
                    response = apis[who](method, path + query, body or None)
                    transaction.set_rollback(True)
                written -= {"accounts_apikey"}  # when it was used last
                wanted = row.expected(who, public=public, anonymous=401) if row else 405
                faults += judged(f"{method} {path} by {who}", response, written, {wanted}, row, public)
    assert not faults, "\n" + "\n".join(faults)


def jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: jsonable(one) for key, one in value.items()}
    return [jsonable(one) for one in value] if isinstance(value, list) else str(value)


def test_what_is_open_to_everybody_says_nothing_of_anybody(world: World) -> None:
    for name in OPEN:
        for who in ("anonymous", "stranger"):
            response = Api(world.keys[who]).get(reverse(name))
            assert response.status_code == 200, name
            assert OF_THE_PACK not in response.content
    for method in ("GET", "POST", "DELETE"):
        assert Api().__call__(method, "/api/knowledge-packs-of-others").status_code == 404


# --- Packs that one may not read, or no longer ------------------------------------------------------------------------


@pytest.fixture
def stranger(world: World) -> User:
    return world.people["stranger"]


def test_a_template_does_not_lend_its_packs(world: World, stranger: User) -> None:
    save_template(None, slug="all", agents=[{"name": "A"}, {"name": "B"}], packs=[world.pack], title="All")
    made = Api(world.keys["stranger"]).post("/api/council-sessions", {"question": "What?", "template": "all"})
    assert (made.status_code, made.json()["packs"]) == (201, [])
    form = signed_in(world)["stranger"].get("/councils/new?template=all")
    assert str(world.pack.pk).encode() not in form.content


def test_a_snapshot_of_another_pack_cannot_be_pinned(world: World, stranger: User) -> None:
    mine = services.create_pack(stranger, name="Mine")
    body = {"question": "What?", "packs": [{"id": str(mine.pk), "snapshot": str(world.ids["snapshot"])}]}
    assert Api(world.keys["stranger"]).post("/api/council-sessions", body).status_code == 400


def test_an_entry_is_not_read_at_a_revision_of_another_one(world: World, stranger: User) -> None:
    mine = services.create_pack(stranger, name="Mine")
    entry, _ = services.add_entry(mine, stranger, {"title": "Mine", "content": "Mine."})
    page = signed_in(world)["stranger"].get(f"/entries/{entry.pk}?revision={world.ids['revision']}")
    assert page.status_code == 404


@pytest.mark.parametrize("pin", [None, "v1"], ids=["live", "pinned"])
@pytest.mark.parametrize("how", ["unshared", "made private", "deleted"])
def test_a_council_stops_reading_what_its_convener_may_no_longer_read(world: World, pin: str | None, how: str) -> None:
    who = "viewer" if how == "unshared" else "stranger"
    if how != "unshared":
        services.update_pack(world.pack.pk, {"visibility": "public"})
    pins = {world.pack.pk: pin} if pin else {}
    plan = councils.Plan(question="What is sunlight for?", packs=[world.pack.pk], pins=pins)
    session = councils.create_session(world.people[who], plan)
    assert any(SOLAR["title"] == hit.title for hit in evidence.retrieve(session.pk, "sunlight", 5))
    _lose(world, how)
    assert evidence.retrieve(session.pk, "sunlight", 5) == ()
    client = signed_in(world)[who]
    assert client.get(f"/councils/{session.pk}").status_code == 200  # the record is the convener's
    assert {client.get(path).status_code for path in (f"/packs/{world.pack.pk}", f"/entries/{world.ids['entry']}")} == {
        404
    }
    again = {"packs": [str(world.pack.pk)]}
    assert Api(world.keys[who]).patch(f"/api/council-sessions/{session.pk}", again).status_code == 400


def _lose(world: World, how: str) -> None:
    if how == "unshared":
        shared = world.pack.shares.get(user=world.people["viewer"])
        services.unshare(world.pack.pk, shared.pk)
    elif how == "made private":
        services.update_pack(world.pack.pk, {"visibility": "private"})
    else:
        services.delete_pack(world.pack.pk)


def test_a_viewer_is_told_why_there_is_no_form(world: World) -> None:
    page = signed_in(world)["viewer"].get(f"/packs/{world.pack.pk}")
    assert b"You may read and search this pack, not change it." in page.content
    assert b"archived" not in page.content
    assert Entry.objects.filter(pack=KnowledgePack.objects.get()).count() == 3
