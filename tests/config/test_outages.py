"""The web server while Valkey or PostgreSQL is away: what works, what refuses, how long it takes, and that it all comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection

from accounts.models import User
from accounts.services import create_api_key
from tests.realtime.broker import Broker
from tests.realtime.live import wait_for
from tests.support.relay import Relay
from tests.support.stack import LiveStack, database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("outages")]
PATIENCE_S = 2.0  # what nobody may be kept waiting longer than
SLOW_S = 2.0  # what a busy machine may add; without an outage the same requests take a few ms


@dataclass
class Site:
    http: httpx2.Client
    broker: Broker
    database: Relay

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        began = time.monotonic()
        answer = self.http.request(method, path, **more)
        assert time.monotonic() - began < PATIENCE_S + SLOW_S, f"{method} {path}"
        return answer

    def sign_in(self) -> httpx2.Response:
        token = {"csrfmiddlewaretoken": "a" * 32}
        form = {"username": "ada@example.org", "password": "correct horse battery", **token}
        headers = {"Cookie": f"quorum_csrf={'a' * 32}", "Authorization": ""}
        return self.ask("POST", "/accounts/login", data=form, headers=headers)


@pytest.fixture
def site(tmp_path: Path, user: User) -> Iterator[Site]:
    values = connection.settings_dict
    broker = Broker()
    key = create_api_key(user, "outages")[1]
    user.password = PBKDF2PasswordHasher().encode(
        "correct horse battery", "salt", iterations=1
    )  # the server knows no other
    user.save()
    try:
        with Relay(values["HOST"], int(values["PORT"])) as relay:
            url = urlsplit(database_url())
            account = url.netloc.rpartition("@")[0]
            env = {
                "DATABASE_URL": url._replace(netloc=f"{account}@127.0.0.1:{relay.port}").geturl(),
                "REDIS_URL": broker.url,
                "RATE_LIMITS": "true",
            }
            with (
                LiveStack(tmp_path, env=env, only=["web"]) as stack,
                httpx2.Client(base_url=stack.url, timeout=30, headers={"Authorization": f"Bearer {key}"}) as http,
            ):
                yield Site(http, broker, relay)
    finally:
        if broker.runs:
            broker.stop()


def is_problem(answer: httpx2.Response, status: int, code: str) -> bool:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("how", ["frozen", pytest.param("gone", marks=pytest.mark.deep)])
def test_without_valkey_reads_and_writes_work_and_signing_in_does_not(site: Site, how: str) -> None:
    assert '"read";q=' in site.ask("GET", "/api/council-sessions").headers["RateLimit-Policy"]
    assert site.sign_in().status_code == 302
    if how == "frozen":
        site.broker.freeze()
    else:
        site.broker.stop()
    assert site.ask("GET", "/api/council-sessions").status_code == 200
    made = site.ask("POST", "/api/knowledge-packs", json={"name": "Made meanwhile"})
    assert made.status_code == 201
    pack = f"/api/knowledge-packs/{made.json()['id']}"
    assert site.ask("POST", f"{pack}/entries", json={"title": "a", "content": "b"}).status_code == 201
    assert site.ask("GET", f"{pack}/entries/search?q=b").status_code == 200
    council = site.ask("POST", "/api/council-sessions", json={"question": "Is it here?"})
    assert council.status_code == 201
    assert site.ask("POST", f"/api/council-sessions/{council.json()['id']}/start").status_code == 202
    assert is_problem(site.ask("POST", "/api/tickets"), 503, "unavailable")
    refused = site.sign_in()
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    ready = site.ask("GET", "/readyz")
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "ok")
    assert ready.json()["checks"]["valkey"].startswith("no answer")
    assert site.ask("GET", "/livez").status_code == 200
    if how == "frozen":
        site.broker.thaw()
    else:
        site.broker.start()
    wait_for(lambda: site.ask("GET", "/readyz").status_code == 200)
    wait_for(lambda: site.sign_in().status_code == 302)
    wait_for(lambda: "RateLimit" in site.ask("GET", "/api/council-sessions").headers)
    assert site.ask("POST", "/api/tickets").status_code == 201


def test_without_postgresql_everything_says_so_and_comes_back(site: Site) -> None:
    assert site.ask("GET", "/api/council-sessions").status_code == 200
    site.database.shut()
    for method, path in (
        ("GET", "/api/council-sessions"),
        ("POST", "/api/knowledge-packs"),
        ("GET", "/api/me/stream"),
    ):
        answer = site.ask(method, path, **({"json": {"name": "a"}} if method == "POST" else {}))
        assert is_problem(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    page = site.ask("GET", "/", headers={"Cookie": "quorum_session=" + "a" * 32, "Authorization": ""})
    assert (page.status_code, "Retry-After" in page.headers) == (503, True)
    ready = site.ask("GET", "/readyz")
    assert (ready.status_code, ready.json()["checks"]["valkey"]) == (503, "ok")
    assert ready.json()["checks"]["database"].startswith("no answer")
    assert site.ask("GET", "/livez").status_code == 200
    site.database.open()
    wait_for(lambda: site.ask("GET", "/readyz").status_code == 200)
    assert site.ask("GET", "/api/council-sessions").status_code == 200
