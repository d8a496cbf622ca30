"""What each route writes to the audit log: a table over every route that can change anything, and the exports.

To add a route, say for each of its methods but GET which actions it records (``RECORDS``), or why none (``SILENT``). A route without
a decision fails, and so does a decision without a route. Each is asked as in the tables of who may do what, by somebody who may.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import transaction
from django.test import Client

from accounts.audit.actions import ACTIONS, table
from accounts.models import ApiKey
from accounts.models_audit import AuditEntry
from council import services as councils
from council.models import CouncilSession, Turn
from council.templates import save_template
from knowledge import services
from tests.conftest import Api
from tests.council import test_access_matrix as councils_table
from tests.knowledge import test_sharing_matrix as packs_table
from tests.knowledge.shared_pack import World, build
from tests.support.access import METHODS, routes

PROJECT = Path(__file__).resolve().parents[2]
READS = {"GET", "HEAD", "OPTIONS", "TRACE"}

RECORDS: dict[tuple[str, str], set[str]] = {
    ("knowledge-packs", "POST"): {"pack.created"},
    ("knowledge-pack", "PATCH"): {"pack.changed"},
    ("knowledge-pack", "DELETE"): {"pack.trashed"},
    ("knowledge-restore", "POST"): {"pack.restored"},
    ("knowledge-shares", "POST"): {"pack.shared"},
    ("knowledge-share", "PATCH"): {"pack.shared"},
    ("knowledge-share", "DELETE"): {"pack.unshared"},
    ("knowledge-transfer", "POST"): {"pack.transferred"},
    ("knowledge-snapshots", "POST"): {"snapshot.published"},
    ("knowledge-snapshot", "DELETE"): {"snapshot.deleted"},
    ("knowledge-fork", "POST"): {"pack.forked"},
    ("knowledge-export", "GET"): {"pack.exported"},
    ("knowledge-import-commit", "POST"): {"import.committed"},
    ("knowledge-import-cancel", "POST"): {"import.cancelled"},
    ("session-list", "POST"): {"council.created"},
    ("session", "PATCH"): {"council.changed"},
    ("session-start", "POST"): {"council.started"},
    ("session-pause", "POST"): {"council.paused"},
    ("session-resume", "POST"): {"council.resumed"},
    ("session-stop", "POST"): {"council.stopped"},
    ("session-fork", "POST"): {"council.created", "council.forked"},
    ("session-export", "GET"): {"council.exported"},
    ("pages:pack_new", "POST"): {"pack.created"},
    ("pages:council_new", "POST"): {"council.created"},
    ("pages:council_start", "POST"): {"council.started"},
    ("pages:council_pause", "POST"): {"council.paused"},
    ("pages:council_resume", "POST"): {"council.resumed"},
    ("pages:council_stop", "POST"): {"council.stopped"},
    ("pages:council_fork", "POST"): {"council.created", "council.forked"},
    ("accounts:keys", "POST"): {"key.created"},
    ("accounts:revoke_key", "POST"): {"key.revoked"},
    ("accounts:rotate_key", "POST"): {"key.rotated"},
    ("me-api-keys", "POST"): {"key.created"},
    ("me-api-key", "PATCH"): {"key.changed"},
    ("me-api-key", "DELETE"): {"key.revoked"},
    ("me-api-key-rotate", "POST"): {"key.rotated"},
    ("me-webhooks", "POST"): {"webhook.created"},
    ("me-webhook", "PATCH"): {"webhook.changed"},
    ("me-webhook", "DELETE"): {"webhook.deleted"},
    ("me-webhook-rotate", "POST"): {"webhook.rotated"},
    ("me-webhook-test", "POST"): {"webhook.tested"},
    ("me-webhook-replay", "POST"): {"webhook.replayed"},
    ("accounts:logout", "POST"): {"user.signed_out"},
    ("me", "PATCH"): {"user.changed"},
}
# What the tables ask for is refused there for its state; tested below or elsewhere, by the service that they call.
LATER: dict[tuple[str, str], set[str]] = {
    ("knowledge-imports", "POST"): {"import.started"},
    ("knowledge-embedding", "PATCH"): {"pack.embedding_changed"},  # the model that it has already
    ("knowledge-embedding-migration", "DELETE"): {"pack.embedding_changed"},
    ("session-reconsider", "POST"): {"council.reconsidered"},
    ("me-export", "POST"): {"user.exported"},  # for people alone, as the one below
    ("me", "DELETE"): {"user.deletion_asked"},
    ("pages:council_reconsider", "POST"): {"council.reconsidered"},
    ("accounts:login", "POST"): {"user.signed_in"},
    ("accounts:login", "PUT"): {"user.signed_in"},  # Django takes it for a POST
    ("me-sessions", "DELETE"): {"user.logins_ended"},  # not for keys; tests/accounts/test_logins.py
    ("me-session", "DELETE"): {"user.logins_ended"},
}
# allauth's routes, by how their names begin: its signals and Django's are recorded (accounts/receivers.py), whatever door was used;
# tests/accounts/test_audit.py
SIGNALLED = ("account_", "mfa_", "socialaccount_", "openid_connect_", "headless:", "no-phones")
ENTRIES = "single entries have revisions, which say who changed what"
SAID = "what people say in a council stands in its own record"
QUALITY = "golden questions, evaluations and reviews open nothing to anybody"
SILENT: dict[tuple[str, str], str] = {
    ("knowledge-entries", "POST"): ENTRIES,
    ("knowledge-entry", "PATCH"): ENTRIES,
    ("knowledge-entry", "DELETE"): ENTRIES,
    ("knowledge-entry-restore", "POST"): ENTRIES,
    ("knowledge-entry-retry", "POST"): ENTRIES,
    ("knowledge-entries-bulk", "POST"): ENTRIES,
    ("knowledge-entries-reorder", "POST"): ENTRIES,
    ("knowledge-revision-revert", "POST"): ENTRIES,
    ("pages:entries", "POST"): ENTRIES,
    ("golden-questions", "POST"): QUALITY,
    ("golden-question", "PATCH"): QUALITY,
    ("golden-question", "DELETE"): QUALITY,
    ("evaluations", "POST"): QUALITY,
    ("review-queue", "POST"): QUALITY,
    ("session-message", "POST"): SAID,
    ("session-turn", "POST"): SAID,
    ("session-gate", "POST"): SAID,
    ("session-seat-ask", "POST"): SAID,
    ("session-candidates-split", "POST"): SAID,
    ("pages:council_message", "POST"): SAID,
    ("pages:council_turn", "POST"): SAID,
    ("pages:council_gate", "POST"): SAID,
    ("pages:council_ask", "POST"): SAID,
    ("ticket", "POST"): "it lives for 30 seconds and opens what its maker may read already",
    ("me-notifications-read", "POST"): "one's own bell",
}


@pytest.fixture(autouse=True)
def model(settings: LazySettings) -> None:
    settings.LLM_BASE_URL, settings.LLM_MODEL = "http://127.0.0.1:1/v1", "fake"


@pytest.fixture
def world(db: None) -> World:
    made = build()
    viewer = made.people["viewer"]
    save_template(None, slug="pair", agents=[{"name": "A"}, {"name": "B"}], title="A pair")
    plan = councils.Plan(question="Which narwhal?", packs=[made.pack.pk], template="pair")
    session = councils.create_session(viewer, plan)
    ids = {
        "session_id": session.pk,
        "turn_id": Turn(session=session).pk,
        "seat": session.seats.get(position=0).pk,
        "key_id": ApiKey.objects.get(user=viewer).pk,
        **councils_table.webhook_of(viewer),
        "pack_id": made.pack.pk,
        "entry_id": made.ids["entry"],
    }
    return World(made.pack, {**made.ids, **ids}, made.people, made.keys)


def methods_of(route: Any) -> set[str]:
    """The methods that may change something. A plain view says by its decorator which it takes; what it does not say counts as POST."""
    callback = route.pattern.callback
    view = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
    if view is not None:
        return {name.upper() for name in view.http_method_names if hasattr(view, name)} - READS
    return {"POST"}


def changing() -> set[tuple[str, str]]:
    """Every (route, method) that can change something, as the tables of who may do what list them."""
    tabled = {*councils_table.PAGES, *councils_table.API, *packs_table.ROWS}
    refusing = {name for name, _ in tabled if name.startswith("pages:") and (name, "POST") not in tabled}
    open_to_all = councils_table.OPEN | councils_table.LIVE
    found = {(route.name, method) for route in routes() if route.name for method in methods_of(route)}
    return {
        (name, method)
        for name, method in found
        if not name.startswith(("admin:", *SIGNALLED)) and name not in refusing | open_to_all
    }


def test_every_route_that_changes_anything_has_a_decision() -> None:
    decided = {*RECORDS, *LATER, *SILENT}
    assert len(decided) == len(RECORDS) + len(LATER) + len(SILENT), "decided twice"
    every = changing()
    missing = sorted(every - decided)
    assert not missing, f"Does the audit log say of it? Add to RECORDS or SILENT in {__file__}: {missing}"
    assert {one for one in decided if one[1] not in READS} - every == set(), "decisions without a route"
    assert {method for _, method in decided} <= set(METHODS)


def test_actions_are_recorded_somewhere_and_documented() -> None:
    files = [file for app in ("accounts", "council", "knowledge") for file in (PROJECT / app).rglob("*.py")]
    code = "\n".join(file.read_text() for file in files if file.name != "actions.py")
    spoken = set(re.findall(r'"([a-z_]+\.[a-z_]+)"', code))
    assert set(ACTIONS) - spoken == set(), "actions that nothing records"
    assert table() in (PROJECT / "docs/audit.md").read_text(), f"docs/audit.md is to say:\n{table()}"


def api_of_packs(world: World, name: str, method: str) -> Any:
    row = packs_table.ROWS[name, method]
    if row.before:
        row.before(world.ids)
    mark()
    path = packs_table.address(name, world.ids) + row.query.format(**world.ids)
    return Api(world.keys["owner"])(method, path, row.sent(world.ids))


def api_of_councils(world: World, name: str, method: str) -> Any:
    row = councils_table.API[name, method]
    row.before(world)
    mark()
    path = councils_table.address(name, world.ids) + row.query(world.ids)
    body = councils_table.jsonable(row.form(world.ids)) if method in ("POST", "PATCH") else None
    return Api(world.keys["viewer"])(method, path, body or None)


def pages(world: World, name: str, method: str) -> Any:
    row = councils_table.PAGES[name, method]
    client = Client()
    client.force_login(world.people["viewer"], backend="django.contrib.auth.backends.ModelBackend")
    row.before(world)
    mark()
    return client.post(councils_table.address(name, world.ids), row.form(world.ids))


_seen: set[Any] = set()


def mark() -> None:
    _seen.clear()
    _seen.update(AuditEntry.objects.values_list("pk", flat=True))


def asked(world: World, name: str, method: str) -> tuple[int, list[AuditEntry]]:
    """The status, and what was recorded; all of it is taken back."""
    tables = ((packs_table.ROWS, api_of_packs), (councils_table.API, api_of_councils), (councils_table.PAGES, pages))
    ask = next(ask for rows, ask in tables if (name, method) in rows)
    with transaction.atomic():
        response = ask(world, name, method)
        if response.streaming:
            b"".join(response.streaming_content)
        entries = list(AuditEntry.objects.exclude(pk__in=_seen))
        transaction.set_rollback(True)
    return response.status_code, entries


@pytest.fixture
def both(world: World) -> World:
    """The rows of packs call their pack ``pk``."""
    return World(world.pack, {**world.ids, "pk": world.pack.pk}, world.people, world.keys)


def test_each_route_records_what_the_table_says(both: World) -> None:
    faults = []
    for (name, method), actions in RECORDS.items():
        status, entries = asked(both, name, method)
        found = {entry.action for entry in entries}
        if (found, len(entries)) != (actions, len(actions)) or status >= 400:
            faults.append(f"{method} {name}: {status}, recorded {sorted(found)} instead of {sorted(actions)}")
        who = "owner" if (name, method) in packs_table.ROWS else "viewer"
        for entry in entries:
            if (entry.outcome, entry.actor_id, entry.ip) != ("allowed", both.people[who].pk, "127.0.0.1"):
                faults.append(f"{method} {name}: {entry.action} by {entry.actor_kind} {entry.actor_id} from {entry.ip}")
            if "@" in str([entry.details, entry.object_name]):
                faults.append(f"{method} {name}: an address in {entry.details}")
    assert not faults, "\n" + "\n".join(faults)


def test_the_others_record_nothing(both: World) -> None:
    tabled = {*councils_table.PAGES, *councils_table.API, *packs_table.ROWS}
    for name, method in (one for one in SILENT if one in tabled):
        _, entries = asked(both, name, method)
        assert entries == [], f"{method} {name}"


def test_what_is_refused_changes_nothing_and_records_nothing(both: World) -> None:
    stranger, before = Api(both.keys["stranger"]), AuditEntry.objects.count()
    assert stranger.delete(f"/api/knowledge-packs/{both.pack.pk}").status_code == 404
    assert Api(both.keys["editor"]).delete(f"/api/knowledge-packs/{both.pack.pk}").status_code == 403
    assert stranger.post(f"/api/council-sessions/{both.ids['session_id']}/start").status_code == 404
    assert AuditEntry.objects.count() == before


def test_a_replayed_post_is_recorded_once(both: World) -> None:
    api, before = Api(both.keys["owner"]), AuditEntry.objects.count()
    for _ in range(3):
        made = api.post("/api/knowledge-packs", {"name": "Once"}, Idempotency_Key="once")
        assert made.status_code == 201
    assert AuditEntry.objects.count() == before + 1


def test_a_change_that_is_rolled_back_leaves_no_entry(both: World) -> None:
    before = AuditEntry.objects.count()
    with transaction.atomic():
        services.create_pack(both.people["owner"], name="Gone")
        transaction.set_rollback(True)
    assert AuditEntry.objects.count() == before
    assert CouncilSession.objects.count() == 1
