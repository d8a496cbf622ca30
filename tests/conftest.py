"""Fixtures that every test may use. PostgreSQL and Valkey are real (tests.support.services)."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from hypothesis import settings as hypothesis
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import User
from accounts.services import create_api_key
from council.llm import client as llm_client
from tests.support import blindness, described, histories
from tests.support.councils import assert_decisions_recount, convene, fake, fake_server

__all__ = ["convene", "fake", "fake_server"]  # fixtures

hypothesis.register_profile("deep", deadline=None, max_examples=1000)  # make deep


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked ``deep`` runs in ``make deep`` alone."""
    if config.getoption("--hypothesis-profile") == "deep":
        return
    for item in items:
        if item.get_closest_marker("deep"):
            item.add_marker(pytest.mark.skip(reason="only in make deep"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """At the end of every test of councils, while its database is still there: nobody was told who else sits at the table. And at the
    end of every test: its events and snapshots are as we publish them."""
    result = yield
    if blindness.concerns(item, described.CHECKED) and not item.get_closest_marker("forges"):
        assert blindness.anywhere(described.undescribed) == []
    if blindness.concerns(item):
        assert blindness.anywhere(blindness.leaks) == []
        if "fake" not in getattr(item, "fixturenames", ()) and not item.get_closest_marker("forges"):
            # A whole stack ran beside the test, or nothing at all; in-process councils are recounted by a fixture below.
            blindness.anywhere(assert_decisions_recount)
            blindness.anywhere(histories.assert_councils_sound)
    if histories.concerns_packs(item):
        blindness.anywhere(histories.assert_packs_sound)
    return result


@pytest.fixture(autouse=True)
def only_models_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_client, "ALLOW_REAL_MODELS", False)


@pytest.fixture(autouse=True)
def cheap_passwords(settings: LazySettings) -> None:
    """The real hasher takes a quarter of a second for every user made, by design."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def no_rate_limits(settings: LazySettings) -> None:
    """Limits have tests of their own."""
    settings.RATELIMIT_ENABLE = False


@pytest.fixture(autouse=True)
def no_search_log(settings: LazySettings) -> None:
    """Its writer has a thread and a connection of its own, which see nothing of a test's transaction; it has tests of its own."""
    settings.SEARCH_LOG = False


@pytest.fixture(autouse=True)
def every_decision_is_recounted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever council a test holds, its recount gives the decision that was stored, and its log and rows tell the same sound story.
    Tests that forge one say so by a mark."""
    database = {"db", "transactional_db"} & set(request.fixturenames) or request.node.get_closest_marker("django_db")
    if "fake" not in request.fixturenames or not database:
        yield
        return
    request.getfixturevalue("_django_db_helper")  # set up before this, and so torn down after it
    yield
    if not request.node.get_closest_marker("forges"):
        assert_decisions_recount()
        histories.assert_councils_sound()


class Api:
    """The HTTP API as a program uses it: JSON in, JSON out, a bearer key."""

    def __init__(self, key: str | None = None) -> None:
        self.client = Client(headers={"Authorization": f"Bearer {key}"} if key else {})

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.generic(method, path, data, content_type="application/json", headers=named)

    def get(self, path: str, **headers: str) -> Any:
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self("POST", path, body, **headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Any:
        return self("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self("DELETE", path, **headers)


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("ada@example.org", "correct horse battery", name="Ada")


@pytest.fixture
def other_user(db: None) -> User:
    return User.objects.create_user("bob@example.org", "staple battery horse", name="Bob")


@pytest.fixture
def api(user: User) -> Api:
    return Api(create_api_key(user, "tests")[1])


@pytest.fixture
def other_api(other_user: User) -> Api:
    return Api(create_api_key(other_user, "tests")[1])


@pytest.fixture
def anonymous(db: None) -> Api:
    return Api()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The database is dropped at the end. The server takes a moment to notice that a worker was killed, and does not drop it before."""
    yield
    others = """
        SELECT pid, application_name, state, state_change, query FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
    """
    gc.collect()  # what a thread of a test had and forgot is given back when it is collected, and nothing is any more after the end
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's; what threads gave back to it would be waited for
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        until = time.monotonic() + 10
        while left := cursor.execute(others).fetchall():
            assert time.monotonic() < until, f"connections that nobody gave back: {left}"
            time.sleep(0.1)
