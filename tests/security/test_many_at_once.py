"""Hundreds of requests at the same moment, against a server process with connections of their own: still one object, still the limit."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher

from accounts.breaker import PAUSE_AFTER_FAILURE_S
from accounts.models import User
from accounts.services import create_api_key
from knowledge.models import KnowledgePack
from tests.realtime.broker import Broker
from tests.support.stack import LiveStack

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300), pytest.mark.xdist_group("outages")]

REPETITIONS, ATTEMPTS = 200, 500
LOGIN, LOGIN_IP = 10, 16  # a day, so that no window ends while the test runs
PASSWORD = "correct horse battery"
HASH = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)  # the server knows no other hasher
DOOR = "/_allauth/app/v1/auth/login"


@pytest.fixture
def stack(tmp_path: Path, user: User) -> Iterator[LiveStack]:
    """With counters of its own."""
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


def together(
    url: str, requests: list[tuple[str, dict[str, Any], dict[str, str]]], source: str = "127.0.0.1"
) -> list[httpx2.Response]:
    """All POSTs (path, body, headers) at once, each on a connection of its own, from the address ``source``."""

    async def run() -> list[httpx2.Response]:
        limits = httpx2.Limits(max_connections=len(requests))
        transport = httpx2.AsyncHTTPTransport(limits=limits, local_address=source)
        async with httpx2.AsyncClient(base_url=url, timeout=120, transport=transport) as http:
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
    what they say, and the right password is none the wiser.

    On a machine that is so busy that the counters do not answer in time the door is shut (503). That lets nobody through who should
    not be, but it is not what this is about: it is tried again, from another address and at another account.
    """
    for source in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
        victim = User.objects.create(email=f"victim.{source}@example.org", password=HASH)
        one = guesses(lambda _, victim=victim: victim.email)  # type: ignore[misc]
        many = guesses(lambda n, source=source: f"nobody{n}.{source}@example.org")  # type: ignore[misc]
        found = [Counter(one.status_code for one in together(stack.url, each, source)) for each in (one, many)]
        assert all(each[400] <= limit for each, limit in zip(found, (LOGIN, LOGIN_IP), strict=True)), found
        if not any(each[503] for each in found):
            break
        time.sleep(PAUSE_AFTER_FAILURE_S + 0.5)
    assert found == [{400: LOGIN, 429: ATTEMPTS - LOGIN}, {400: LOGIN_IP - LOGIN, 429: ATTEMPTS - LOGIN_IP + LOGIN}]
    [right] = together(stack.url, [(DOOR, {"email": victim.email, "password": PASSWORD}, {})], source)
    assert right.status_code == 429
    assert int(right.headers["Retry-After"]) > 0


def guesses(email: Callable[[int], str]) -> list[tuple[str, dict[str, Any], dict[str, str]]]:
    return [(DOOR, {"email": email(n), "password": "wrong"}, {}) for n in range(ATTEMPTS)]
