"""Every route and method with credentials that are no longer good, or never were: one answer for all of them, which neither the object
nor the route's table changes; and with the session's token, which opens what a key with every scope opens."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from accounts import keys
from accounts.models import ApiKey, User
from tests.conftest import Api
from tests.knowledge.shared_pack import World
from tests.security.table import asks, by_token, send, unknown
from tests.security.test_existence import quiet, world
from tests.support.access import writes

__all__ = ["quiet", "world"]  # fixtures

pytestmark = pytest.mark.django_db
# Every route of the API asks who it is, but for the documents that tests/council/test_access_matrix.py calls OPEN.
EVERY = list(asks())


def revoked(user: User) -> Client:
    key, secret = keys.create_api_key(user, "revoked")
    keys.revoke_api_key(key)
    return Api(secret).client


def expired(user: User) -> Client:
    key, secret = keys.create_api_key(user, "expired")
    ApiKey.objects.filter(pk=key.pk).update(expires_at=timezone.now())
    return Api(secret).client


def rotated(user: User) -> Client:
    key, secret = keys.create_api_key(user, "rotated")
    keys.rotate_api_key(user, key.pk, timedelta(0))
    return Api(secret).client


def garbled(user: User) -> Client:
    secret = keys.create_api_key(user, "garbled")[1]
    return Api(secret[:-1] + ("a" if secret[-1] != "a" else "b")).client


def signed_out(user: User) -> Client:
    client = by_token(user)
    user.login_sessions.all().delete()
    return client


def nobody(user: User) -> Client:
    return Client()


@pytest.mark.parametrize("dead", [revoked, expired, rotated, garbled, signed_out, nobody])
def test_what_is_no_longer_good_opens_nothing(world: World, dead: object) -> None:
    assert callable(dead)
    faults, bodies = [], set()
    clients = {who: dead(world.people[who]) for who in ("owner", "viewer")}
    for ask in EVERY:
        for ids in (world.ids, unknown(world.ids)):
            with transaction.atomic(), writes() as written:
                answer = send(clients[ask.who if ask.who in clients else "owner"], ask, ids)
                transaction.set_rollback(True)
            if answer.status_code != 401 or written:
                faults.append(f"{ask}: {answer.status_code}, wrote {written}")
            elif ask.method != "HEAD":
                bodies.add(
                    tuple(sorted((name, str(value)) for name, value in answer.json().items() if name != "request_id"))
                )
    assert not faults, "\n".join(faults)
    assert len(bodies) == 1, bodies


def test_a_sessions_token_opens_what_a_key_opens(world: World) -> None:
    faults = []
    clients = {who: by_token(person) for who, person in world.people.items()}
    for ask in EVERY:
        with transaction.atomic():
            ask.before(world)
            status = send(clients[ask.who], ask, world.ids).status_code
            transaction.set_rollback(True)
        if status != ask.ok:
            faults.append(f"{ask} by {ask.who}: {status} instead of {ask.ok}")
    assert not faults, "\n".join(faults)
