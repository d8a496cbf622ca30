from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import limits
from accounts.breaker import Breaker
from accounts.models import User
from accounts.services import create_api_key


@pytest.fixture(autouse=True)
def _no_limits(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RATELIMIT_ENABLE = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the real one takes half a second
    monkeypatch.setattr(limits, "breaker", Breaker())


def program_of(user: User) -> Client:
    """A client that sends a key of this user, and shows a 500 instead of raising what caused it."""
    _, key = create_api_key(user, "test")
    return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {key}"})


@pytest.fixture
def program(user: User) -> Client:
    return program_of(user)


@pytest.fixture
def browser(user: User) -> Client:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def csrf(client: Client) -> dict[str, str]:
    """The cookie that a page with a form sets, and the header that its script then sends."""
    client.cookies["quorum_csrf"] = "a" * 32
    return {"X-CSRFToken": "a" * 32}
