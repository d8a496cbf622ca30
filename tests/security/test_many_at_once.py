"""Hundreds of requests at the same moment, against a server process with connections of their own: still one object, still the limit."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher

from accounts.models import User
from accounts.services import create_api_key
from knowledge.models import KnowledgePack
from tests.realtime.broker import Broker
from tests.support.stack import LiveStack

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300), pytest.mark.xdist_group("outages")]

REPETITIONS, ATTEMPTS = 200, 500
LOGIN, LOGIN_IP = 10, 16  # a day, so that no window ends while the test runs
PASSWORD = "correct horse battery"


@pytest.fixture
def stack(tmp_path: Path, user: User) -> Iterator[LiveStack]:
    """With counters of its own."""
    user.password = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)  # the server knows no other hasher
    user.save()
    broker = Broker()
    env = {
        "REDIS_URL": broker.url,
        "RATE_LIMITS": "true",
        # What a busy server answers before it knows the caller is counted by address.
        **{f"RATE_LIMIT_{name}{whose}": "off" for name in ("READ", "WRITE") for whose in ("", "_KEY", "_IP")},
        "RATE_LIMIT_LOGIN": f"{LOGIN}/d",
        "RATE_LIMIT_LOGIN_IP": f"{LOGIN_IP}/d",
        "RATE_LIMIT_LOGIN_ACCOUNT": f"{LOGIN_IP}/d",
    }
    try:
        with LiveStack(tmp_path, only=["web"], env=env) as stack:
            yield stack
    finally:
        broker.stop()


def together(url: str, requests: list[tuple[str, dict[str, Any], dict[str, str]]]) -> list[httpx2.Response]:
    """All POSTs (path, body, headers) at once, each on a connection of its own."""

    async def run() -> list[httpx2.Response]:
        limits = httpx2.Limits(max_connections=len(requests))
        async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
            return await asyncio.gather(*(http.post(path, json=body, headers=more) for path, body, more in requests))

    return asyncio.run(run())


def test_one_key_makes_one_object_however_many_ask(stack: LiveStack, user: User) -> None:
    """Every answer is the same, or a 409 of one who waited ten seconds in vain."""
    headers = {"Authorization": f"Bearer {create_api_key(user, 'tests')[1]}", "Idempotency-Key": "one"}
    answers = together(stack.url, [("/api/knowledge-packs", {"name": "Only one"}, headers)] * REPETITIONS)
    found = Counter(answer.status_code for answer in answers)
    assert set(found) <= {201, 409}
    assert found[201] >= 1
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"idempotency_key_in_use"}
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers if answer.status_code == 201) == 1
    assert KnowledgePack.objects.filter(name="Only one").count() == 1


def test_exactly_the_limit_gets_to_the_password(stack: LiveStack) -> None:
    """500 guesses at one account, then 500 at an account each: the counters of the account, then of the address, let through exactly
    what they say, and the right password is none the wiser."""
    door = "/_allauth/app/v1/auth/login"
    one: list[Any] = [(door, {"email": "ada@example.org", "password": "wrong"}, {})] * ATTEMPTS
    assert_reached(together(stack.url, one), LOGIN)
    many: list[Any] = [(door, {"email": f"nobody{n}@example.org", "password": "wrong"}, {}) for n in range(ATTEMPTS)]
    assert_reached(together(stack.url, many), LOGIN_IP - LOGIN)
    [right] = together(stack.url, [(door, {"email": "ada@example.org", "password": PASSWORD}, {})])
    assert right.status_code == 429
    assert int(right.headers["Retry-After"]) > 0


def assert_reached(answers: list[httpx2.Response], limit: int) -> None:
    """Those who were told that the password is wrong, and nobody else, were let through."""
    found = Counter(answer.status_code for answer in answers)
    assert found == {400: limit, 429: ATTEMPTS - limit}
