"""How many statements a read takes: the same for thirty rows of everything as for three, on every route of the API.

A new GET route is measured as it comes, from the URL configuration. What it lists has to be among what ``more_of_everything`` makes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.db.models import Max
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import exports
from accounts.models import ApiKey, User, WebhookDelivery, WebhookEndpoint
from accounts.models_logins import LoginSession
from accounts.services import create_api_key
from council import services as councils
from council.models import CouncilSession, Decision, Message
from council.templates import save_template
from knowledge import models as knowledge
from knowledge import services
from realtime.ids import uuid7
from tests.council.test_access_matrix import API, DOORS, OPEN, webhook_of
from tests.knowledge.shared_pack import World, build
from tests.knowledge.test_sharing_matrix import ROWS
from tests.support.access import Route, routes
from tests.support.councils import conclude
from tests.support.fake_openai import FakeModelServer

# It gives a decision citations that no council wrote.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.forges]

MORE = 27
# Statements that a read may take, with the two that say who asks; more where a whole record is put together.
MOST = {
    "knowledge-stats": 12,
    "knowledge-searches-summary": 9,
    "me-usage": 20,  # sums of five tables, and what each limit of one's plan has left
    "session": 12,
    "session-claims": 12,
    "session-recount": 27,
    "session-export": 30,
}
COUNTS = ("entry_count", "passage_count")
# They stream, or read a file or a turn that waits for a person, or (a whole record) as many rounds as a council had.
NOT_HERE = (
    {"me-export-file", "session-stream", "knowledge-stream", "me-stream", "session-turn", "session-gate"} | OPEN | DOORS
)


@pytest.fixture
def world(db: None, fake: FakeModelServer, settings: LazySettings) -> Iterator[World]:
    """A pack with something of everything, and a council of its owner's that has concluded on it. Nothing is cached."""
    settings.OBJECT_CACHE, settings.SEARCH_CACHE_S = False, 0
    logging.disable(logging.WARNING)
    made = build()
    owner = made.people["owner"]
    seats: list[Any] = [{"name": name, "model": "fake-option-1"} for name in ("A", "B", "C")]
    save_template(None, slug="three", agents=seats, title="Three")
    plan = councils.Plan(question="Which bread?", options=["Rye", "Wheat"], packs=[made.pack.pk], template="three")
    session = councils.create_session(owner, plan)
    assert conclude(owner, session).status == "completed"
    with transaction.atomic():
        hook = webhook_of(owner)
    own = {"session": session.pk, "export_id": exports.request(owner).pk, **hook}
    yield World(made.pack, {**made.ids, **own}, made.people, made.keys)
    logging.disable(logging.NOTSET)


def readable() -> list[Route]:
    """Every route of the API that answers a GET with a body that is made of rows."""
    named = [route for route in routes() if route.path.startswith("api/") and route.name]
    views = [(route, getattr(route.pattern.callback, "cls", None)) for route in named]
    return [route for route, view in views if hasattr(view, "get") and route.name not in NOT_HERE]


def address(route: Route, world: World) -> str:
    ids = {**world.ids}
    if route.name.startswith("session"):
        ids["pk"] = ids["session"]
    if route.name == "me-api-key":
        ids["pk"] = ApiKey.objects.filter(user=world.people["owner"]).earliest("pk").pk
    if route.name.startswith("me-webhook"):
        ids["pk"] = ids["hook_id"]
    pack, council = ROWS.get((route.name, "GET")), API.get((route.name, "GET"))
    query = pack.query.format(**ids) if pack else council.query(ids) if council else ""
    return reverse(route.name, kwargs={key: ids[key] for key in route.keys}) + query


def statements(world: World) -> dict[str, list[str]]:
    """What every route asks the database, when it is asked for the second time (the first notes that a key is used)."""
    person = Client()
    person.force_login(world.people["owner"], backend="django.contrib.auth.backends.ModelBackend")
    staff = Client(headers={"Authorization": f"Bearer {world.keys['staff']}"})
    found = {}
    for route in readable():
        client, path = (staff if route.name == "audit" else person), address(route, world)
        read(client, path)
        with CaptureQueriesContext(connection) as asked:
            read(client, path)
        found[route.name] = [one["sql"] for one in asked.captured_queries]
    return found


def read(client: Client, path: str) -> None:
    response = client.get(path)
    content = b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]  # the stubs know one kind of response
    assert response.status_code in (200, 409), (path, content)


def more_of_everything(world: World) -> None:
    owner, pack = world.people["owner"], world.pack
    texts: list[Any] = [{"title": f"More {n}", "content": f"More bread, {n}."} for n in range(MORE)]
    services.add_entries(pack, owner, texts)
    people = [User.objects.create_user(f"more{n}@example.org", "correct horse battery") for n in range(MORE)]
    for n, person in enumerate(people):
        services.create_pack(owner, name=f"More {n}")
        services.share(pack.pk, None, person.email, "viewer")
        services.add_golden_question(pack.pk, owner, question=f"More {n}?", expected=[world.ids["entry"]])
        services.revise_entry(world.ids["entry"], owner, {"content": f"Said in another way, {n}."})
        create_api_key(owner, f"more {n}")
        another_council(world, n)
    rows_of_jobs(world)
    rows_of_webhooks(world)
    rows_of_the_council(world, people)


def another_council(world: World, n: int) -> CouncilSession:
    plan = councils.Plan(question=f"More {n}?", packs=[world.pack.pk], template="three")
    return councils.create_session(world.people["owner"], plan)


def rows_of_jobs(world: World) -> None:
    pack, job = world.pack, knowledge.Import.objects.get(pk=world.ids["import_id"])
    figures = {"questions": 1, "ndcg_10": 1.0, "recall_10": 1.0, "mrr": 1.0}
    for n in range(MORE):
        knowledge.Import.objects.create(pack=pack, status="planned", dry_run=True, filename=f"{n}.md")
        knowledge.ImportItem.objects.create(job=job, ordinal=n, source=f"{n}.md")
        knowledge.Evaluation.objects.create(pack=pack, mode="lexical", index_epoch=n, **figures)
        knowledge.EvaluationJob.objects.create(pack=pack, mode="lexical")
        knowledge.SearchLog.objects.create(pack=pack, query=f"More {n}", mode="lexical", hits=0, took_ms=1.0)
        knowledge.Snapshot.objects.create(pack=pack, label=f"more-{n}", **dict.fromkeys(COUNTS, 0), content_hash="")
        digest = LoginSession.hash(str(n))
        LoginSession.objects.create(
            digest=digest, user=world.people["owner"], data="", created_at=pack.created_at, last_seen_at=pack.created_at
        )


def rows_of_webhooks(world: World) -> None:
    first = WebhookEndpoint.objects.get(pk=world.ids["hook_id"])
    for n in range(MORE):
        WebhookEndpoint.objects.create(user=first.user, url=f"https://{n}.example.org/", events=["pack.*"])
        WebhookDelivery.objects.create(endpoint=first, type="webhook.test", payload={}, event=n)


def rows_of_the_council(world: World, people: list[User]) -> None:
    """Messages, and citations of its decision."""
    session = CouncilSession.objects.get(pk=world.ids["session"])
    decision = Decision.objects.get(run__session=session)
    cited = knowledge.EntryRevision.objects.filter(entry=world.ids["entry"]).order_by("number")
    first = (decision.citations.aggregate(last=Max("n"))["last"] or 0) + 1
    for n, (person, revision) in enumerate(zip(people, cited, strict=False)):
        Message.objects.create(session=session, author=person, content=f"More {n}")
        decision.citations.create(n=first + n, revision=revision, status="verified", passage=str(uuid7()))


def test_as_many_statements_for_thirty_rows_as_for_three(world: World) -> None:
    before = statements(world)
    more_of_everything(world)
    after = statements(world)
    grown = {name: (len(before[name]), len(after[name])) for name in before if len(after[name]) > len(before[name])}
    assert not grown, "\n".join(f"{name}: {counts}\n  " + "\n  ".join(after[name]) for name, counts in grown.items())
    most = {name: len(found) for name, found in after.items() if len(found) > MOST.get(name, 8)}
    assert not most, most
