"""What every answer says to browsers: generated over the URL configuration, with the files and errors that stand in none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.conf import LazySettings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client
from django.urls import NoReverseMatch, reverse

from accounts.models import User
from config.http.safe_headers import HEADERS
from tests.knowledge.shared_pack import World, build
from tests.support.access import Route, routes
from tests.support.stack import LiveStack

NOTHING = "0190a1b2-0000-7000-8000-000000000001"
FILES = ["/static/js/live.js", "/static/css/quorum.css", "/static/img/quorum.svg", "/static/none.js"]
ERRORS = [
    "/no/such/page",
    "/api/no/such/route",
    "/api/me?" + "a" * 17_000,
    "/accounts/login?" + "a" * 17_000,
    "/api/knowledge-packs?cursor=%ff",
]


@pytest.fixture
def world(db: None) -> World:
    return build()


def addresses(world: World) -> Iterator[str]:
    """One of every route that can be written down, with what there is, else with ids of nothing."""
    for route in routes():
        yield from filter(None, [_address(route, world)])
    yield from FILES
    yield from ERRORS


def _address(route: Route, world: World) -> str:
    known = {name: str(world.ids.get(name, NOTHING)) for name in route.keys}
    known |= dict.fromkeys(route.keys & {"object_id", "content_type_id", "uidb36", "n"}, "1")
    known |= dict.fromkeys(
        route.keys & {"app_label", "key", "url", "provider_id", "extra_context", "path", "rest"}, "a"
    )
    try:
        return reverse(route.name, kwargs=known) if route.name else ""
    except NoReverseMatch:
        return ""


def faults(answer: Any) -> list[str]:
    """What is missing or says too much."""
    found = [name for name in HEADERS if not answer.headers.get(name)]
    policy = answer.headers.get("Content-Security-Policy", "")
    found += [] if "frame-ancestors 'none'" in policy else ["frame-ancestors"]
    found += [] if re.search(r"(default|script)-src", policy) else ["no policy"]
    admin = answer.wsgi_request.path.startswith("/admin/")
    found += ["unsafe"] if "unsafe" in policy and not admin else []
    found += ["scripts inline"] if re.search(r"script-src[^;]*unsafe-inline", policy) else []
    found += ["any origin"] if "*" in policy or answer.headers.get("Access-Control-Allow-Origin") == "*" else []
    found += ["who serves"] if {"Server", "X-Powered-By"} & set(answer.headers) else []
    typed = answer.headers.get("Content-Type", "")
    found += ["no type"] if not typed and answer.status_code not in {204, 301, 302, 304} else []
    return found


@pytest.mark.parametrize("who", ["anonymous", "staff"])
def test_every_answer_has_the_whole_set(who: str, world: World, client: Client) -> None:
    client.raise_request_exception = False
    asked, wrong = 0, {}
    for address in addresses(world):
        if who == "staff":
            client.force_login(world.people["staff"])  # some of the addresses sign one out
        if address.endswith("stream"):
            continue  # they do not end; their answer is made by the same middleware
        answer = client.get(address)
        asked += 1
        b"".join(getattr(answer, "streaming_content", []))  # a file is closed by who has read it
        if found := faults(answer):
            wrong[f"{answer.status_code} {address[:100]}"] = found
    assert wrong == {}
    assert asked > 150


def test_only_the_admin_has_a_loose_policy(world: World, client: Client) -> None:
    client.force_login(world.people["staff"])
    loose = {
        path
        for path in ("/", "/admin/", "/admin/login/", "/api/docs", "/api/me", "/accounts/keys", "/accounts/email/")
        if "unsafe" in client.get(path, follow=True).headers["Content-Security-Policy"]
    }
    assert loose == {"/admin/", "/admin/login/"}


@pytest.mark.parametrize("form", ["jsonl", "markdown"])
def test_what_people_uploaded_is_never_shown_in_place(form: str, world: World, client: Client) -> None:
    client.force_login(world.people["owner"])
    answer = client.get(f"/api/knowledge-packs/{world.pack.pk}/export?format={form}")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "html" not in answer.headers["Content-Type"]


@pytest.mark.django_db
def test_only_named_origins_may_read(settings: LazySettings, client: Client) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example"]
    for origin, allowed in (
        ("https://app.example", True),
        ("https://app.example.evil.example", False),
        ("http://app.example", False),
        ("https://evil.example", False),
        ("null", False),
        ("https://app.example:8443", False),
    ):
        for answer in (
            client.get("/api/me", headers={"Origin": origin}),
            client.options("/api/me", headers={"Origin": origin, "Access-Control-Request-Method": "PATCH"}),
        ):
            told = answer.headers.get("Access-Control-Allow-Origin")
            assert told == (origin if allowed else None)
            assert "origin" in answer.headers["Vary"].lower()


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("outages")
def test_over_https_cookies_and_transport_are_strict(tmp_path: Path, user: User) -> None:
    """A real server behind a proxy that ends TLS."""
    user.password = PBKDF2PasswordHasher().encode(
        "correct horse battery", "salt", iterations=1
    )  # the server knows no other
    user.save()
    env = {"PUBLIC_URL": "https://quorum.example", "BEHIND_PROXY": "true", "ALLOWED_HOSTS": "quorum.example"}
    proxied = {
        "Host": "quorum.example",
        "X-Forwarded-Proto": "https",
        "Referer": "https://quorum.example/accounts/login",
    }
    with LiveStack(tmp_path, only=["web"], env=env) as stack, httpx2.Client(base_url=stack.url, timeout=30) as http:
        plain = http.get("/accounts/login", headers={"Host": "quorum.example"})
        assert (plain.status_code, plain.headers["Location"]) == (301, "https://quorum.example/accounts/login")
        page = http.get("/accounts/login", headers=proxied)
        token = cookies(page)["__Host-quorum_csrf"].value
        form = {"username": user.email, "password": "correct horse battery", "csrfmiddlewaretoken": token}
        done = http.post("/accounts/login", data=form, headers={**proxied, "Cookie": f"__Host-quorum_csrf={token}"})
        assert done.status_code == 302, done.text
        for answer in (page, done):
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
            assert [name for name in HEADERS if name not in answer.headers] == []
        given = {**cookies(page), **cookies(done)}
    assert {"__Host-quorum_session", "__Host-quorum_csrf", "__Host-quorum_device"} <= set(given)
    for name, one in given.items():
        assert name.startswith("__Host-")
        assert (bool(one["secure"]), one["samesite"], one["path"], one["domain"]) == (True, "Lax", "/", ""), name
        assert one["httponly"] or name == "__Host-quorum_csrf"  # scripts of ours send it back


def cookies(answer: httpx2.Response) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in answer.headers.get_list("Set-Cookie"):
        found |= SimpleCookie(line)
    return found
