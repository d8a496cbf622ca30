"""The fifteen routes of the contract, each refused in every way that it can be, and nothing changed by a refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.conf import LazySettings

from accounts.models import User
from council.models import CouncilSession, Message, SessionEvent
from knowledge.models import Entry, KnowledgePack, PackEvent
from knowledge.services import create_pack
from realtime import tickets
from tests.conftest import Api
from tests.support.councils import Convene, conclude
from tests.support.fake_openai import FakeModelServer

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Route:
    method: str
    path: str  # with {pack} or {session} where an id stands
    good: Any = None  # a body that would be accepted
    wrong: Any = None  # the same with a wrong type
    missing: Any = None  # the same without something required

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def takes_a_body(self) -> bool:
        return self.good is not None

    @property
    def has_an_object(self) -> bool:
        return "{" in self.path


PACKS, SESSIONS = "/api/knowledge-packs", "/api/council-sessions"
PACK, SESSION = f"{PACKS}/{{pack}}", f"{SESSIONS}/{{session}}"
ROUTES = [
    Route("POST", PACKS, {"name": "T"}, {"name": ["T"]}, {}),
    Route("GET", PACKS),
    Route("GET", PACK),
    Route("PATCH", PACK, {"name": "T"}, {"name": {}}),
    Route("DELETE", PACK),
    Route(
        "POST",
        f"{PACK}/entries",
        {"title": "T", "content": "C"},
        {"title": "T", "content": 1.5e3, "tags": "x"},
        {"title": "T"},
    ),
    Route("GET", f"{PACK}/entries"),
    Route("GET", f"{PACK}/entries/search?q=word"),
    Route("POST", SESSIONS, {"question": "Q?"}, {"question": "Q?", "options": "A"}, {"title": "T"}),
    Route("GET", SESSIONS),
    Route("GET", SESSION),
    Route("PATCH", SESSION, {"title": "T"}, {"title": []}),
    Route("POST", f"{SESSION}/start"),
    Route("POST", f"{SESSION}/stop"),
    Route("POST", f"{SESSION}/message", {"content": "C"}, {"content": "C", "interrupt": "perhaps"}, {"kind": "note"}),
]
WITH_BODY = [route for route in ROUTES if route.takes_a_body]
WITH_OBJECT = [route for route in ROUTES if route.has_an_object]


@pytest.fixture
def pack(user: User) -> KnowledgePack:
    return create_pack(user, name="A pack")


@pytest.fixture
def session(convene: Convene) -> CouncilSession:
    return convene()


Path = Callable[[Route], str]


@pytest.fixture
def path(pack: KnowledgePack, session: CouncilSession) -> Path:
    return lambda route: route.path.format(pack=pack.pk, session=session.pk)


def world() -> list[Any]:
    """Everything that a refusal must leave alone."""
    packs = list(KnowledgePack.objects.order_by("id").values_list("id", "name", "status", "version", "last_seq"))
    sessions = list(CouncilSession.objects.order_by("id").values_list("id", "title", "status", "version", "last_seq"))
    counts = [model.objects.count() for model in (Entry, Message, SessionEvent, PackEvent)]
    return [packs, sessions, counts]


def assert_refused(answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert {"type", "title", "status", "detail", "code", "errors", "request_id"} <= problem.keys()


def with_slash(path: str) -> str:
    return path.replace("?", "/?", 1) if "?" in path else path + "/"


def test_there_are_fifteen() -> None:
    assert len(ROUTES) == 15


@pytest.mark.parametrize("route", ROUTES, ids=str)
@pytest.mark.parametrize("slash", [False, True])
def test_each_answers_its_owner(route: Route, slash: bool, path: Path, api: Api, fake: FakeModelServer) -> None:
    where = with_slash(path(route)) if slash else path(route)
    if where.rstrip("/").endswith("stop"):
        api.post(where.replace("stop", "start"))
    answer = api(route.method, where, route.good)
    expected = {"POST": {201, 202}, "GET": {200}, "PATCH": {200}, "DELETE": {204}}[route.method]
    assert answer.status_code in expected, answer.content


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_no_credentials(route: Route, path: Path, anonymous: Api) -> None:
    where, before = path(route), world()
    assert_refused(anonymous(route.method, where, route.good), 401)
    assert world() == before


@pytest.mark.parametrize("route", WITH_OBJECT, ids=str)
def test_another_users_object(route: Route, path: Path, other_api: Api) -> None:
    where, before = path(route), world()
    assert_refused(other_api(route.method, where, route.good), 404)
    assert world() == before


@pytest.mark.parametrize("route", WITH_OBJECT, ids=str)
@pytest.mark.parametrize("bad", ["not-an-id", "12", "%00", "01a20000-0000-7000-8000-000000000000"])
def test_a_bad_id(route: Route, bad: str, api: Api, db: None) -> None:
    assert_refused(api(route.method, route.path.format(pack=bad, session=bad), route.good), 404)


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"title": NaN}', b'"text"', b"null"])
def test_bad_json(route: Route, body: bytes, path: Path, api: Api) -> None:
    where, before = path(route), world()
    assert_refused(api(route.method, where, body), 400)
    assert world() == before


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
def test_wrong_types(route: Route, path: Path, api: Api) -> None:
    where, before = path(route), world()
    answer = api(route.method, where, route.wrong)
    assert_refused(answer, 400)
    assert answer.json()["errors"][0]["pointer"].startswith("/")
    assert world() == before


@pytest.mark.parametrize("route", [route for route in WITH_BODY if route.missing is not None], ids=str)
def test_missing_fields(route: Route, path: Path, api: Api) -> None:
    where, before = path(route), world()
    assert_refused(api(route.method, where, route.missing), 400)
    assert world() == before


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
def test_unknown_fields(route: Route, path: Path, api: Api) -> None:
    where, before = path(route), world()
    assert_refused(api(route.method, where, {**route.good, "surprise": 1}), 400)
    assert world() == before


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
def test_an_oversize_body(route: Route, path: Path, api: Api, settings: LazySettings) -> None:
    where, before = path(route), world()
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    assert_refused(api(route.method, where, {**route.good, "title": "x" * 2000}), 413)
    assert world() == before


@pytest.mark.parametrize("route", WITH_OBJECT, ids=str)
def test_a_method_that_is_not_there(route: Route, path: Path, api: Api) -> None:
    assert_refused(api("PUT", path(route), {}), 405)


ILLEGAL = [
    ("PATCH", SESSION, {"question": "Other?"}, "running"),
    ("POST", f"{SESSION}/start", None, "running"),
    ("POST", f"{SESSION}/stop", None, "draft"),
    ("POST", f"{SESSION}/message", {"content": "C"}, "archived"),
]


@pytest.mark.forges
@pytest.mark.parametrize(("method", "where", "body", "status"), ILLEGAL)
def test_an_illegal_state_of_a_session(
    method: str, where: str, body: Any, status: str, session: CouncilSession, api: Api
) -> None:
    if status != "draft":
        CouncilSession.objects.filter(pk=session.pk).update(status=status)
    before = world()
    assert_refused(api(method, where.format(session=session.pk), body), 409)
    assert world() == before


def test_an_archived_pack_takes_no_entries(pack: KnowledgePack, api: Api) -> None:
    for status in ("active", "archived"):
        api.patch(f"{PACKS}/{pack.pk}", {"status": status})
    before = world()
    assert_refused(api.post(f"{PACKS}/{pack.pk}/entries", {"title": "T", "content": "C"}), 409)
    assert world() == before


@pytest.mark.parametrize("route", [r for r in ROUTES if "{pack}" in r.path], ids=str)
def test_a_deleted_pack_is_gone(route: Route, path: Path, pack: KnowledgePack, api: Api) -> None:
    assert api.delete(f"{PACKS}/{pack.pk}").status_code == 204
    before = world()
    assert_refused(api(route.method, path(route), route.good), 404)
    assert world() == before


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method == "PATCH"], ids=str)
def test_an_empty_change_changes_nothing(route: Route, path: Path, api: Api) -> None:
    where, before = path(route), world()
    assert api.patch(where, {}).status_code == 200
    assert world() == before


@pytest.mark.parametrize("route", [r for r in ROUTES if r.method in {"PATCH", "DELETE"}], ids=str)
def test_a_stale_if_match(route: Route, path: Path, api: Api) -> None:
    where, before = path(route), world()
    assert_refused(api(route.method, where, route.good, If_Match='"v999"'), 412)
    assert world() == before


@pytest.mark.django_db(transaction=True)
def test_a_finished_council_cannot_be_stopped(user: User, convene: Convene, api: Api) -> None:
    session = conclude(user, convene())
    assert_refused(api.post(f"{SESSIONS}/{session.pk}/stop"), 409)


def test_a_ticket_is_for_its_user(api: Api, anonymous: Api, user: User) -> None:
    issued = api.post("/api/tickets").json()
    grant = tickets.redeem(issued["ticket"])
    assert grant is not None
    assert grant.user_id == user.pk
    assert tickets.redeem(issued["ticket"]) is None
    assert_refused(anonymous.post("/api/tickets"), 401)
