"""What is not one's own does not exist: for every route and method, somebody else's object is answered with exactly what an id that is
nobody's is answered with, byte for byte, and at the price of as many queries (which stand for its time)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from knowledge import services
from realtime.ids import uuid7
from tests.conftest import Api
from tests.council.test_access_matrix import PAGES, address, world
from tests.knowledge.shared_pack import Ids, World, fill
from tests.security.table import Ask, asks, by_token, send, signed_in, unknown
from tests.support.access import writes

__all__ = ["world"]  # a fixture

pytestmark = pytest.mark.django_db
ASKS = [ask for ask in asks() if ask.names_something]
# Of each answer, and of the moment rather than the object.
PASSING = {"x-request-id", "date", "ratelimit", "ratelimit-policy"}
CONDITIONS: tuple[Mapping[str, str], ...] = (
    {},
    {"If-Match": '"v1"'},
    {"If-Match": "nonsense"},
    {"If-None-Match": "*"},
    {"Idempotency-Key": ""},  # another for each request
)
FOR = {"If-Match": ("PATCH", "DELETE"), "If-None-Match": ("GET",), "Idempotency-Key": ("POST",)}


@pytest.fixture(autouse=True)
def quiet(settings: LazySettings) -> Iterator[None]:
    settings.LLM_BASE_URL, settings.LLM_MODEL = "http://127.0.0.1:1/v1", "fake"
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def mine(world: World) -> dict[str, Any]:
    """A pack of the stranger's own, with something of everything in it."""
    pack = services.create_pack(world.people["stranger"], name="Mine")
    return {**world.ids, "pk": pack.pk, **fill(pack)}


def told(client: Client, ask: Ask, ids: Ids, headers: Mapping[str, str], body: Any = ...) -> tuple[Any, ...]:
    """Everything that an outsider can see of the answer, and the number of queries; what it did is taken back."""
    if "Idempotency-Key" in headers:
        headers = {"Idempotency-Key": str(uuid7())}
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        answer = send(client, ask, ids, headers, body)
        transaction.set_rollback(True)
    return (answer.status_code, *seen(answer, ids), len(queries))


def seen(answer: Any, ids: Ids) -> tuple[Any, ...]:
    """The headers and the body, without the request's own id and the ids that the caller wrote."""
    text = (b"".join(answer.streaming_content) if answer.streaming else answer.content).decode()
    text = text.replace(answer.headers.get("X-Request-ID", "-"), "")
    headers = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in PASSING}
    text = re.sub(r'(csrfmiddlewaretoken" value|csrf-token" content)="\w+"', "", text)
    for name, value in ids.items():
        if not isinstance(value, UUID):
            continue
        text = text.replace(str(value), name)
        headers = {key: held.replace(str(value), name) for key, held in headers.items()}
    return headers, text


def differences(
    client: Client,
    one: Ids,
    other: Ids,
    world: World,
    conditions: Sequence[Mapping[str, str]],
    asks: Sequence[Ask] = ASKS,
) -> list[str]:
    faults = []
    for ask in asks:
        with transaction.atomic():
            ask.before(world)
            tried = [
                (headers, ...) for headers in conditions if ask.method in FOR.get(next(iter(headers), ""), ask.method)
            ]
            for headers, body in [*tried, *([({}, {})] if ask.method in ("POST", "PATCH") else [])]:
                left, right = (told(client, ask, ids, headers, body) for ids in (one, other))
                if left != right:
                    faults.append(f"{ask} {dict(headers)} {body}:\n  {left}\n  {right}")
            transaction.set_rollback(True)
    return faults


@pytest.mark.parametrize("way", ["key", "cookie", "token"])
def test_what_is_not_ones_own_does_not_exist(world: World, way: str) -> None:
    stranger = world.people["stranger"]
    client = {
        "key": lambda: Api(world.keys["stranger"]).client,
        "cookie": lambda: signed_in(stranger),
        "token": lambda: by_token(stranger),
    }[way]()
    client.get("/api/me")  # what is only done once, for its use being noted
    conditions = CONDITIONS if way == "key" else CONDITIONS[:1]
    faults = differences(client, world.ids, unknown(world.ids), world, conditions)
    assert not faults, f"{len(faults)}\n" + "\n".join(faults)


def test_what_is_in_anothers_pack_does_not_exist_in_ones_own(world: World, mine: dict[str, Any]) -> None:
    client = Api(world.keys["stranger"]).client
    client.get("/api/me")
    theirs = {**world.ids, "pk": mine["pk"]}
    inner = [ask for ask in ASKS if ask.names_something_in_a_pack]
    assert len(inner) > 15
    faults = differences(client, theirs, {**unknown(world.ids), "pk": mine["pk"]}, world, CONDITIONS[:1], inner)
    assert not faults, f"{len(faults)}\n" + "\n".join(faults)


def test_pages_of_others_do_not_exist(world: World) -> None:
    client, faults = signed_in(world.people["stranger"]), []
    nobodys = unknown(world.ids)
    for (name, method), row in PAGES.items():
        if address(name, world.ids) == address(name, nobodys):
            continue
        answers = []
        for ids in (world.ids, nobodys):
            with transaction.atomic(), CaptureQueriesContext(connection) as queries, writes() as written:
                row.before(world)
                queries.initial_queries = len(connection.queries_log)
                written.clear()
                path = address(name, ids) + row.query(ids)
                answer = client.post(path, row.form(ids)) if method == "POST" else client.get(path)
                answers.append((answer.status_code, *seen(answer, ids), len(queries), sorted(written)))
                transaction.set_rollback(True)
        if answers[0] != answers[1] or answers[0][0] != 404:
            faults.append(f"{method} {name}:\n  {answers[0]}\n  {answers[1]}")
    assert not faults, "\n".join(faults)
