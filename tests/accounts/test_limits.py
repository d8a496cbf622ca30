from __future__ import annotations

import importlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.cache import caches
from django.test import Client
from pytest_django import Settings

from accounts import limits
from accounts.api.views import ApiView
from accounts.models import User
from tests.accounts.conftest import program_of

THINGS = "/api/probe/things"
LOGIN = "/accounts/login"
WRONG = "not the password"


@pytest.fixture
def limited(settings: Settings) -> Settings:
    settings.RATELIMIT_ENABLE = True
    settings.RATE_LIMITS = {
        "login": "3/h",
        "login_ip": "",
        "login_admin": "",
        "login_account": "",
        "read": "",
        "write": "3/h",
        "read_ip": "3/h",
    }
    settings.RATELIMIT_CACHE_PREFIX = f"test-{time.monotonic_ns()}:"
    return settings


def dead_cache(settings: Settings, port: int) -> None:
    default = settings.CACHES["default"]
    limits = {**settings.CACHES["limits"], "LOCATION": f"redis://127.0.0.1:{port}/0"}
    settings.CACHES = {"default": {**default, "LOCATION": f"redis://127.0.0.1:{port}/0"}, "limits": limits}


@pytest.fixture
def refused_cache(limited: Settings) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    dead_cache(limited, port)


@pytest.fixture
def frozen_cache(limited: Settings) -> Iterator[None]:
    """A server that accepts and then says nothing, like a stopped process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        dead_cache(limited, server.getsockname()[1])
        yield


def write(client: Client) -> Any:
    return client.post(THINGS, {"name": "a"}, content_type="application/json")


def sign_in(client: Client, email: str = "ada@example.org", password: str = WRONG) -> Any:
    return client.post(LOGIN, {"username": email, "password": password})


@pytest.mark.urls("tests.accounts.probe")
class TestApi:
    def test_writes_above_the_rate_are_429_and_change_nothing(
        self, limited: Settings, program: Client, user: User
    ) -> None:
        answers = [write(program) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
        assert user.api_keys.exclude(name="test").count() == 3
        assert answers[3].json()["code"] == "rate_limited"

    def test_answers_tell_what_is_left(self, limited: Settings, program: Client) -> None:
        first = write(program)
        assert first.headers["RateLimit-Policy"] == '"write";q=3;w=3600'
        assert first.headers["RateLimit"].startswith('"write";r=2;t=')

    def test_a_429_tells_when_to_come_back(self, limited: Settings, program: Client) -> None:
        last = [write(program) for _ in range(4)][-1]
        wait = int(last.headers["Retry-After"])
        assert 1 <= wait <= 3600
        assert last.headers["RateLimit"] == f'"write";r=0;t={wait}'
        assert last.headers["RateLimit-Policy"] == '"write";q=3;w=3600'

    def test_a_key_has_a_part_of_what_its_user_has(self, limited: Settings, user: User) -> None:
        limited.RATE_LIMITS = {**limited.RATE_LIMITS, "write_key": "2/h"}
        one = program_of(user)
        first, _, third = [write(one) for _ in range(3)]
        assert first.headers["RateLimit-Policy"] == '"write";q=3;w=3600, "write_key";q=2;w=3600'
        assert (third.status_code, third.headers["RateLimit"].split(";")[0]) == (429, '"write"')
        assert '"write_key";r=0' in third.headers["RateLimit"]
        limited.RATE_LIMITS = {**limited.RATE_LIMITS, "write": "9/h"}
        assert write(program_of(user)).status_code == 201

    @pytest.mark.parametrize("path", [THINGS, "/api/probe/raise/bug", "/api/nothing", "/api/probe/plain/bug"])
    def test_every_answer_to_a_stranger_is_counted_by_address(self, limited: Settings, db: None, path: str) -> None:
        strangers = [Client(raise_request_exception=False, REMOTE_ADDR=f"2001:db8::{n}") for n in range(4)]
        answers = [one.get(path, headers={"Authorization": "Bearer qk_wrong"}) for one in strangers]
        assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]
        assert answers[0].status_code in (401, 404, 500)
        assert (answers[3].status_code, answers[3].json()["code"]) == (429, "rate_limited")
        assert int(answers[3].headers["Retry-After"]) > 0
        elsewhere = Client(raise_request_exception=False, REMOTE_ADDR="2001:db8:0:1::1")
        assert elsewhere.get(path).headers["RateLimit"].split(";")[1] == "r=2"

    def test_a_304_says_what_is_left(self, limited: Settings, program: Client) -> None:
        limited.RATE_LIMITS = {**limited.RATE_LIMITS, "read": "9/h"}
        tag = program.get(THINGS).headers["ETag"]
        again = program.get(THINGS, headers={"If-None-Match": tag})
        assert (again.status_code, again.headers["RateLimit-Policy"]) == (304, '"read";q=9;w=3600')

    def test_reads_may_have_no_limit(self, limited: Settings, program: Client) -> None:
        assert [program.get(THINGS).status_code for _ in range(5)] == [200] * 5

    def test_users_are_counted_apart_and_keys_of_one_user_together(
        self, limited: Settings, user: User, other_user: User
    ) -> None:
        answers = [write(program_of(user)) for _ in range(4)]
        assert answers[-1].status_code == 429
        assert write(program_of(other_user)).status_code == 201

    def test_a_dead_cache_lets_writes_through(self, refused_cache: None, program: Client) -> None:
        assert write(program).status_code == 201

    def test_a_frozen_cache_delays_one_request_and_no_more(self, frozen_cache: None, program: Client) -> None:
        started = time.monotonic()
        assert [write(program).status_code for _ in range(5)] == [201] * 5
        assert time.monotonic() - started < 2

    def test_counting_resumes_after_the_pause(self, limited: Settings, program: Client) -> None:
        limits.breaker.trip()
        assert "RateLimit" not in write(program).headers
        limits.breaker.closed_until = time.monotonic()
        assert "RateLimit" in write(program).headers


class TestSignIn:
    def test_too_many_attempts_on_one_account_are_429_even_with_the_right_password(
        self, limited: Settings, user: User
    ) -> None:
        client = Client()
        assert [sign_in(client).status_code for _ in range(3)] == [200] * 3
        answer = sign_in(client, " ADA@example.org", "correct horse battery")
        assert answer.status_code == 429
        assert "Retry-After" in answer.headers
        assert "_auth_user_id" not in client.session

    def test_another_account_and_another_address_are_counted_apart(
        self, limited: Settings, user: User, other_user: User
    ) -> None:
        for _ in range(4):
            sign_in(Client())
        assert sign_in(Client(), "bob@example.org").status_code == 200
        assert sign_in(Client(REMOTE_ADDR="192.0.2.7"), password="correct horse battery").status_code == 302

    def test_the_admin_counts_at_the_same_door(self, limited: Settings, user: User) -> None:
        for _ in range(3):
            sign_in(Client())
        answer = Client().post("/admin/login/", {"username": "ada@example.org", "password": "correct horse battery"})
        assert b"Try again in" in answer.content

    @pytest.mark.parametrize("outage", ["refused_cache", "frozen_cache"])
    def test_without_a_counter_the_door_stays_shut(
        self, request: pytest.FixtureRequest, user: User, outage: str
    ) -> None:
        request.getfixturevalue(outage)
        started = time.monotonic()
        client = Client()
        answer = sign_in(client, password="correct horse battery")
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
        assert "_auth_user_id" not in client.session
        assert time.monotonic() - started < 2


def test_the_cache_under_test_is_real() -> None:
    counters = caches["limits"]
    counters.delete("limits-probe")
    assert counters.add("limits-probe", 1, 5)
    assert not counters.add("limits-probe", 1, 5)
    assert counters.incr("limits-probe") == 2


def test_every_class_of_every_route_has_a_rate() -> None:
    importlib.import_module(django_settings.ROOT_URLCONF)
    waiting, classes = [ApiView], set()
    while waiting:
        view = waiting.pop()
        waiting += view.__subclasses__()
        classes |= set(view.rate_policies.values())
    assert {"read", "write", "search", "run"} <= classes
    assert {f"{name}{whose}" for name in classes for whose in ("", "_key", "_ip")} <= set(django_settings.RATE_LIMITS)
