"""Fixtures of the live tests. Everything here commits, for the server reads through connections of its own."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.conf import LazySettings

from accounts.models import User
from accounts.services import create_api_key
from knowledge.models import KnowledgePack
from realtime import feed, nudge
from tests.realtime.broker import Broker
from tests.realtime.live import LiveServer


@pytest.fixture
def key(user: User) -> str:
    return create_api_key(user, "live tests")[1]


@pytest.fixture
def other_key(other_user: User) -> str:
    return create_api_key(other_user, "live tests")[1]


@pytest.fixture
def pack(user: User) -> KnowledgePack:
    return KnowledgePack.objects.create(owner=user, name="Live")


@pytest.fixture
def broker(settings: LazySettings) -> Iterator[Broker]:
    """Ask for it before ``server``: it takes the place of the tests' common Valkey."""
    broker = Broker()
    settings.REDIS_URL = broker.url
    layers: Any = copy.deepcopy(settings.CHANNEL_LAYERS)
    layers["default"]["CONFIG"]["hosts"] = [broker.url]
    settings.CHANNEL_LAYERS = layers
    nudge.client.cache_clear()
    yield broker
    nudge.client().close()
    nudge.client.cache_clear()
    broker.stop()


@pytest.fixture
def server(transactional_db: None, settings: LazySettings) -> Iterator[LiveServer]:
    settings.ROOT_URLCONF = "tests.realtime.urls"
    server = LiveServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def here(transactional_db: None) -> AsyncIterator[feed.Feed]:
    """A feed on the test's own event loop."""
    current = feed.current()
    yield current
    await current.close()
