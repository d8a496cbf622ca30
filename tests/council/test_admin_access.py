"""Who may do what in the admin of councils: each page needs the permission that Django names for it, and staff without it, even with
every other one of the app, are refused. A page that is new is refused or allowed by the same rule, or fails here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from council import budgets, profiles, services
from council.templates import save_template
from tests.support.access import Route, routes, writes

pytestmark = pytest.mark.django_db

KEY = "sk-of-the-house-1234567890"
PAGES = {"changelist": "view", "change": "view", "history": "view", "add": "add", "delete": "delete", "spend": "view"}
READ_ONLY = {"councilsession", "llmcall", "message", "turn"}  # changed by nobody here, superusers included
ROUTES = [
    one
    for one in routes()
    if one.path.startswith("admin/council/")
    and one.name.startswith("admin:")  # the rest is a redirect to its change page
]


@pytest.fixture
def ids(user: User) -> Mapping[str, Any]:
    """One row of each model that has pages of its own, by the model's name."""
    values = {"provider": "openai", "base_url": "https://93.184.215.14/v1", "model": "m", "title": "House"}
    template = save_template(None, slug="pair", agents=[{"name": "A"}, {"name": "B"}], title="A pair")
    session = services.create_session(user, services.Plan(question="Which narwhal?"))
    return {
        "modelprofile": profiles.save_profile("house", values, api_key=KEY).pk,
        "dailybudget": budgets.set_daily_limits(user, {"tokens": 10}).pk,
        "counciltemplate": template.pk,
        "councilsession": session.pk,
        "message": services.post_message(user, session.pk, content="Hm.").pk,
    }


def staff_with(*permissions: Permission) -> Client:
    person = User.objects.create_user(f"s{User.objects.count()}@example.org", "correct horse battery", is_staff=True)
    person.user_permissions.set(permissions)
    client = Client()
    client.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
    return client


def of(route: Route) -> tuple[str, str]:
    """The model's name and the page's."""
    _, model, page = route.name.removeprefix("admin:").split("_", 2)
    return model, page


def address(route: Route, ids: Mapping[str, Any]) -> str:
    return reverse(route.name, args=[ids[of(route)[0]]] if route.keys else [])


def test_each_page_needs_its_permission_and_no_other(ids: Mapping[str, Any]) -> None:
    tried: set[tuple[str, str]] = set()
    every = list(Permission.objects.filter(content_type__app_label="council"))
    for route in ROUTES:
        model, page = of(route)
        assert page in PAGES, f"a page that nobody has said of who may use it: {route.name}"
        if route.keys and model not in ids:
            assert model in {"llmcall", "turn"}  # of a council that ran, with tests of their own in test_admin*.py
            continue
        # Whoever may change a row may look at it.
        enough = {f"{PAGES[page]}_{model}"} | ({f"change_{model}"} if PAGES[page] == "view" else set())
        path = address(route, ids)
        without = staff_with(*(one for one in every if one.codename not in enough))
        alone = staff_with(*(one for one in every if one.codename == f"{PAGES[page]}_{model}"))
        closed = model in READ_ONLY and page in ("add", "delete")
        with writes() as written:
            assert {without.get(path).status_code, without.post(path, {"post": "yes"}).status_code} == {403}, path
            assert alone.get(path).status_code == (403 if closed else 200), path
            if page == "change":
                assert alone.post(path, {"title": "Forged"}).status_code == 403, path
            assert Client().get(path).status_code == 302, path
        assert written <= {"accounts_user"}, (path, written)
        tried.add((model, page))
    assert {(model, "change") for model in ids} | {("llmcall", "spend")} <= tried


def test_people_who_are_not_staff_are_sent_to_sign_in(user: User, ids: Mapping[str, Any]) -> None:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    for route in ROUTES:
        if not route.keys or of(route)[0] in ids:
            answer = client.get(address(route, ids))
            assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, "/admin/login/"), route.name


def test_no_page_shows_a_key(ids: Mapping[str, Any]) -> None:
    client = staff_with(*Permission.objects.filter(content_type__app_label="council"))
    for route in ROUTES:
        if not route.keys or of(route)[0] in ids:
            assert KEY.encode() not in client.get(address(route, ids)).content, route.name
