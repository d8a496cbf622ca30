from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client
from psycopg.errors import DeadlockDetected
from psycopg_pool import PoolTimeout
from pytest_django import Settings

from accounts import errors as accounts_errors
from accounts.models import User
from config import api as config_api
from realtime.errors import InvalidInput, QuorumError, Unavailable
from tests.accounts.conftest import program_of

MEMBERS = {"type", "title", "status", "detail", "code", "errors", "request_id"}
ROOTS = ("realtime", "accounts", "knowledge", "council", "config")


@pytest.fixture
def quiet(db: None) -> Client:
    return Client(raise_request_exception=False)


@pytest.fixture
def program(user: User) -> Client:
    return program_of(user)


def is_problem(answer: Any, status: int, code: str) -> bool:
    body = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert set(body) == MEMBERS
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    return bool(body["request_id"] == answer.headers["X-Request-ID"] and body["title"])


def _subclasses(cls: type[QuorumError]) -> Iterator[type[QuorumError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def test_every_error_of_the_project_is_mapped() -> None:
    for root in ROOTS:
        for module in pkgutil.walk_packages(importlib.import_module(root).__path__, f"{root}."):
            if ".migrations." not in module.name:
                importlib.import_module(module.name)
    ours = [cls for cls in _subclasses(QuorumError) if cls.__module__.split(".")[0] in ROOTS]
    assert {InvalidInput, Unavailable, accounts_errors.LimiterDown} <= set(ours)
    unmapped = [cls for cls in ours if not any(ancestor in config_api.STATUSES for ancestor in cls.__mro__)]
    assert unmapped == []


def test_an_unmapped_error_would_be_a_500() -> None:
    assert config_api.status_of(QuorumError("new kind")) == 500


@pytest.mark.urls("tests.accounts.probe")
class TestProblems:
    @pytest.mark.parametrize(
        ("name", "status", "code"),
        [
            ("operational", 503, "unavailable"),
            ("unavailable", 503, "unavailable"),
            ("not-found", 404, "not_found"),
            ("validation", 400, "invalid"),
            ("throttled", 429, "throttled"),
            ("bug", 500, "internal_error"),
        ],
    )
    def test_errors_of_views_are_problems_without_secrets(
        self, quiet: Client, name: str, status: int, code: str
    ) -> None:
        answer = quiet.get(f"/api/probe/raise/{name}")
        assert is_problem(answer, status, code)
        assert not any(secret in answer.content.decode() for secret in ("hunter2", "secret", "Traceback"))

    def test_drf_errors_get_pointers(self, quiet: Client) -> None:
        errors = quiet.get("/api/probe/raise/validation").json()["errors"]
        assert errors == [{"pointer": "/a/b~1c", "detail": "wrong"}]

    @pytest.mark.parametrize("name", ["operational", "unavailable", "throttled"])
    def test_what_passes_says_when_to_come_back(self, quiet: Client, name: str) -> None:
        assert int(quiet.get(f"/api/probe/raise/{name}").headers["Retry-After"]) > 0

    def test_a_bug_is_raised_again_in_tests_and_so_reaches_the_logs(self, db: None) -> None:
        with pytest.raises(KeyError):
            Client().get("/api/probe/raise/bug")

    @pytest.mark.parametrize(("name", "status"), [("bug", 500), ("operational", 503), ("not-found", 500)])
    def test_errors_of_plain_views_under_api_are_problems(self, quiet: Client, name: str, status: int) -> None:
        answer = quiet.get(f"/api/probe/plain/{name}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert b"secret" not in answer.content
        assert b"hunter2" not in answer.content

    def test_errors_elsewhere_stay_pages(self, quiet: Client) -> None:
        assert quiet.get("/page/bug").headers["Content-Type"].startswith("text/html")

    def test_a_wrong_method_is_405_with_allow(self, program: Client) -> None:
        answer = program.delete("/api/probe/things")
        assert is_problem(answer, 405, "method_not_allowed")
        assert answer.headers["Allow"] == "GET, POST, HEAD, OPTIONS"

    def test_a_representation_that_is_not_offered_is_406(self, program: Client) -> None:
        assert is_problem(program.get("/api/probe/things", headers={"Accept": "text/html"}), 406, "not_acceptable")

    @pytest.mark.parametrize("debug", [False, True])
    @pytest.mark.parametrize(
        "path", ["/api", "/api/", "/api/nothing", "/api/probe/things/not-a-uuid", "/api/probe/things//"]
    )
    def test_unknown_routes_and_malformed_ids_are_404(
        self, program: Client, settings: Settings, path: str, debug: bool
    ) -> None:
        settings.DEBUG = debug
        assert is_problem(program.get(path), 404, "not_found")
        assert is_problem(program.post(path, {}, content_type="application/json"), 404, "not_found")

    def test_a_foreign_host_is_400(self, quiet: Client) -> None:
        assert is_problem(quiet.get("/api/probe/things", headers={"Host": "evil.example"}), 400, "bad_request")

    def test_a_page_that_is_not_there_stays_a_page(self, quiet: Client) -> None:
        answer = quiet.get("/nothing")
        assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (404, "text/html")

    @pytest.mark.parametrize("cause", [psycopg.OperationalError("refused"), PoolTimeout("busy"), DeadlockDetected("x")])
    def test_what_the_driver_raises_when_the_store_is_away_is_503(self, db: None, cause: Exception) -> None:
        with pytest.raises(OperationalError) as caught, connection.wrap_database_errors:
            raise cause
        assert config_api.status_of(caught.value) == 503


@pytest.mark.urls("tests.accounts.probe")
class TestRequestIds:
    @pytest.mark.parametrize("given", ["abc", "a" * 128, "0190a1b2-0000-7000.x:y_z"])
    def test_a_harmless_id_is_kept(self, quiet: Client, given: str) -> None:
        assert quiet.get("/api/x", headers={"X-Request-ID": given}).json()["request_id"] == given

    @pytest.mark.parametrize("given", ["", "a" * 129, "a b", "a\nb", "ü", '"}{'])
    def test_any_other_is_replaced(self, quiet: Client, given: str) -> None:
        answer = quiet.get("/api/x", headers={"X-Request-ID": given})
        assert len(answer.json()["request_id"]) == 32
        assert answer.headers["X-Request-ID"] == answer.json()["request_id"]

    def test_ids_differ_between_requests(self, quiet: Client) -> None:
        assert len({quiet.get("/api/x").headers["X-Request-ID"] for _ in range(3)}) == 3

    def test_the_logs_carry_the_same_id(self, quiet: Client, caplog: pytest.LogCaptureFixture) -> None:
        quiet.get("/api/x", headers={"X-Request-ID": "find-me"})
        ends = [one.msg for one in caplog.records if isinstance(one.msg, dict) and one.msg["event"] == "request"]
        assert [one["request_id"] for one in ends] == ["find-me"]
