"""What a key may do: every route and method of the URL configuration, with every scope."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import path, reverse
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.views import APIView

from accounts import checks, keys
from accounts.api.scopes import undeclared
from accounts.api.views import ApiView
from accounts.models import ApiKey, User
from accounts.scopes import ALL, Scope, granted
from council import services as councils
from council.models import CouncilSession
from council.templates import save_template
from knowledge.models import KnowledgePack
from knowledge.services import create_pack
from tests.accounts import probe
from tests.conftest import Api
from tests.support.access import Route, routes

IMPLIED = {
    "packs:read": {"packs:read"},
    "packs:write": {"packs:write", "packs:read"},
    "councils:read": {"councils:read"},
    "councils:run": {"councils:run", "councils:read"},
    "admin": {str(scope) for scope in ALL},
}
# By the beginning of the path: what reading and what changing needs. Said here a second time, so that a view that declares too little
# is noticed; a path that nothing here begins fails. Longer beginnings first. None: for people alone.
RULES: tuple[tuple[str, set[str] | None, set[str] | None], ...] = (
    ("api/me/sessions", None, None),
    ("api/me/activity", None, None),
    ("api/me/export", None, None),
    ("api/me/deletion", None, None),
    ("api/me/api-keys", {"admin"}, {"admin"}),
    ("api/me/webhooks", {"admin"}, {"admin"}),
    ("api/audit", {"admin"}, {"admin"}),
    ("api/me/", {"councils:read", "packs:read"}, {"councils:run", "packs:read"}),
    ("api/me", set(), {"admin"}),
    ("api/knowledge-packs", {"packs:read"}, {"packs:write"}),
    ("api/embedding-models", {"packs:read"}, {"packs:write"}),
    ("api/council-sessions", {"councils:read"}, {"councils:run"}),
    ("api/tickets", set(), set()),
    ("api/schema", set(), set()),
    ("api/asyncapi", set(), set()),
)


def views() -> Iterator[tuple[Route, str]]:
    """Every named route of the API that a view class answers, and each method of it."""
    for route in routes():
        view = getattr(route.pattern.callback, "cls", None)
        if route.name and isinstance(view, type) and issubclass(view, APIView):
            for name in view.http_method_names:
                if hasattr(view, name) and name != "options":
                    yield route, name.upper()


def wanted(route: Route, method: str) -> set[str] | None:
    if (route.path, method) == ("api/me", "DELETE"):
        return None
    for beginning, read, write in RULES:
        if route.path.startswith(beginning):
            return read if method in ("GET", "HEAD") else write
    raise AssertionError(f"say in RULES what a key needs for /{route.path}")


def address(route: Route) -> str:
    return reverse(route.name, kwargs={key: uuid.uuid4() if key != "n" else 1 for key in route.keys})


def key_with(user: User, *scopes: str) -> Api:
    return Api(keys.create_api_key(user, "scoped", scopes=scopes)[1])


@pytest.fixture
def auditor(user: User) -> User:
    """Who is refused nowhere for want of a permission."""
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    return user


@pytest.mark.parametrize("scope", [str(scope) for scope in ALL])
def test_every_route_asks_for_its_scopes(auditor: User, scope: str) -> None:
    api, faults, asked = key_with(auditor, scope), [], 0
    for route, method in views():
        needed = wanted(route, method)
        answer = api(method, address(route), {} if method in ("POST", "PUT", "PATCH") else None)
        refused = answer.status_code == 403
        asked += 1
        if refused == (needed is not None and needed.issubset(IMPLIED[scope])):
            faults.append(f"{method} /{route.path} with {scope}: {answer.status_code}, needs {needed}")
        if refused and answer.get("WWW-Authenticate") != (None if needed is None else challenge(needed)):
            faults.append(f"{method} /{route.path}: {answer.get('WWW-Authenticate')}")
        code = "session_required" if needed is None else "insufficient_scope"
        if refused and method != "HEAD" and answer.json()["code"] != code:
            faults.append(f"{method} /{route.path}: {answer.json()}")
    assert not faults, "\n" + "\n".join(faults)
    assert asked > 80


def challenge(needed: Iterable[str]) -> str:
    return f'Bearer error="insufficient_scope", scope="{" ".join(sorted(needed))}"'


def test_people_have_all_scopes(auditor: User) -> None:
    browser = Client()
    browser.force_login(auditor, backend="django.contrib.auth.backends.ModelBackend")
    answers = [(route.path, browser.get(address(route)).status_code) for route, method in views() if method == "GET"]
    assert [one for one in answers if one[1] in (401, 403)] == []


def test_a_refusal_says_which_scope_is_missing(user: User) -> None:
    answer = key_with(user, "packs:read").post("/api/knowledge-packs", {"name": "New"})
    assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
    assert "packs:write" in answer.json()["detail"]
    assert not KnowledgePack.objects.filter(owner=user).exists()


def test_a_wrong_scope_says_nothing_of_what_exists(user: User) -> None:
    pack = create_pack(user, name="Mine")
    api = key_with(user, "councils:run")
    answers = [api.get(f"/api/knowledge-packs/{pk}") for pk in (pack.pk, uuid.uuid4())]
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert bodies[0] == bodies[1]


def test_a_method_that_a_route_has_not_is_405_with_any_key(user: User) -> None:
    assert key_with(user, "councils:read").delete("/api/knowledge-packs").status_code == 405
    assert key_with(user, "councils:read")("USER", "/api/knowledge-packs").status_code == 405


@given(st.sets(st.sampled_from(list(ALL))))
def test_more_scopes_never_grant_less(scopes: set[Scope]) -> None:
    assert granted(scopes) == set().union(*(IMPLIED[scope] for scope in scopes))


# --- Councils on packs ------------------------------------------------------------------------------------------------


@pytest.fixture
def on_a_pack(user: User) -> dict[str, Any]:
    return {"question": "What?", "packs": [str(create_pack(user, name="Mine").pk)]}


def test_a_council_on_a_pack_needs_both(user: User, on_a_pack: dict[str, Any]) -> None:
    answer = key_with(user, "councils:run").post("/api/council-sessions", on_a_pack)
    assert (answer.status_code, answer["WWW-Authenticate"]) == (403, challenge(["packs:read"]))
    assert not CouncilSession.objects.exists()
    assert key_with(user, "councils:run", "packs:read").post("/api/council-sessions", on_a_pack).status_code == 201
    assert key_with(user, "councils:run").post("/api/council-sessions", {"question": "What?"}).status_code == 201


def test_a_template_lends_no_scope(user: User) -> None:
    pack = create_pack(user, name="Mine")
    save_template(None, slug="all", agents=[{"name": "A"}, {"name": "B"}], packs=[pack], title="All")
    body = {"question": "What?", "template": "all"}
    assert key_with(user, "councils:run").post("/api/council-sessions", body).status_code == 403
    assert key_with(user, "councils:run").get("/api/council-sessions").json()["results"] == []


@pytest.mark.parametrize("action", ["start", "resume", "reconsider", "fork", "message"])
def test_nothing_sets_seats_to_work_on_a_pack_without(user: User, on_a_pack: dict[str, Any], action: str) -> None:
    session = councils.create_session(user, councils.Plan(question="What?", packs=[uuid.UUID(on_a_pack["packs"][0])]))
    body = {"content": "Hm."} if action == "message" else {} if action == "fork" else None
    path = f"/api/council-sessions/{session.pk}/{action}"
    answer = key_with(user, "councils:run").post(path, body)
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert key_with(user, "councils:run", "packs:read").post(path, body).status_code != 403
    assert key_with(user, "councils:run").get(f"/api/council-sessions/{session.pk}").status_code == 200


def test_a_pack_is_put_before_a_council_only_with_both(user: User, on_a_pack: dict[str, Any]) -> None:
    session = councils.create_session(user, councils.Plan(question="What?"))
    path, packs = f"/api/council-sessions/{session.pk}", {"packs": on_a_pack["packs"]}
    assert key_with(user, "councils:run").patch(path, packs).status_code == 403
    assert key_with(user, "councils:run").patch(path, {"title": "T"}).status_code == 200
    assert key_with(user, "councils:run", "packs:read").patch(path, packs).status_code == 200


# --- Nothing is forgotten ---------------------------------------------------------------------------------------------


def test_every_view_declares_its_scopes() -> None:
    assert undeclared() == []
    assert [str(one) for one in run_checks() if one.id == "quorum.E020"] == []


class Forgot(ApiView):
    def get(self, request: Any) -> None:
        raise AssertionError("never reached")


class PeopleOnly(Forgot):
    scopes = {"GET": None}


urlpatterns = [
    path("api/forgot", Forgot.as_view()),
    path("api/people-only", PeopleOnly.as_view()),
    *probe.urlpatterns,
]


@pytest.mark.urls(__name__)
def test_a_view_that_declares_nothing_fails_the_check_and_is_closed_to_keys(user: User) -> None:
    assert [error.msg for error in checks.scopes(None)] == [
        f"{__name__}.Forgot GET: no scopes are declared (accounts.scopes)"
    ]
    for closed in ("/api/forgot", "/api/people-only"):
        answer = key_with(user, *ALL).get(closed)
        assert (answer.status_code, answer.json()["code"]) == (403, "session_required")


@pytest.mark.parametrize("scopes", [[], ["packs:read", "everything"]])
def test_the_database_takes_no_other_scopes(user: User, scopes: list[str]) -> None:
    key, _ = keys.create_api_key(user, "a")
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiKey.objects.filter(pk=key.pk).update(scopes=scopes)


# --- OpenAPI ----------------------------------------------------------------------------------------------------------


def test_the_schema_names_the_scopes_of_every_operation(anonymous: Api) -> None:
    described = json.loads(anonymous.get("/api/schema", Accept="application/vnd.oai.openapi+json").content)
    count = 0
    for route, method in views():
        address = "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", route.path).replace("{pk}", "{id}")
        operation = described["paths"].get(address, {}).get(method.lower())
        if operation is not None:
            count += 1
            needed, named = wanted(route, method), sorted_scopes(operation["security"])
            assert [one for one in named if "apiKey" in one] == (
                [] if needed is None else [{"apiKey": sorted(needed)}]
            ), address
            assert {"session": []} in operation["security"]
    assert count > 60
    scheme = described["components"]["securitySchemes"]["apiKey"]
    assert all(scope in scheme["description"] for scope in ALL)


def sorted_scopes(security: list[dict[str, list[str]]]) -> list[dict[str, list[str]]]:
    return [{name: sorted(scopes) for name, scopes in one.items()} for one in security]
