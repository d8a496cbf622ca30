"""Everything that is cleaned up on a schedule: what is old goes, what is not stays, and two at once do no harm."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from celery import current_app
from django.conf import LazySettings, settings
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.utils import timezone
from prometheus_client import REGISTRY

from accounts import audit, exports
from accounts.audit import sealing
from accounts.models import AccountExport, Departure, IdempotencyRecord, LoginSession, User, UserEvent, UserStream
from accounts.models_audit import AuditEntry, AuditSeal
from accounts.webhooks import endpoints as webhooks
from config import tasks
from config.cleaning import BY_NAME, CLEANERS, TASK, table
from council import claims, services
from council.models import CouncilSession, Run, SessionEvent, Turn
from knowledge import services as knowledge
from knowledge.imports import files
from knowledge.models import Entry, Import, KnowledgePack, SearchLog
from realtime import cleaning, limits, nudge, presence, tickets
from realtime.models import Cleanup
from tests.support.councils import Convene

pytestmark = pytest.mark.django_db(transaction=True)

BROKEN = {"rounds": "many"}  # a protocol that cannot be read
OLD = 3  # of everything, three are old and one is not


@dataclass
class World:
    user: User
    convene: Convene
    pack: KnowledgePack

    def started(self) -> CouncilSession:
        return services.start(self.user, self.convene().pk)


def ago(**how_long: float) -> datetime:
    return timezone.now() - timedelta(**how_long)


@pytest.fixture
def world(user: User, convene: Convene, settings: LazySettings, tmp_path: Path) -> Iterator[World]:
    settings.DATA_DIR = tmp_path
    nudge.client().flushdb()
    yield World(user, convene, knowledge.create_pack(user, name="Kept"))
    nudge.client().flushdb()


# --- One of each kind: makes three that are old and one that is not, and counts those that are there -------------------------


def late(world: World) -> Callable[[], int]:
    for lease in (-1, 600):
        session = world.started()
        held = claims.claim(session.pk, list(session.turns.values_list("pk", flat=True)), "gone").claims
        assert len(held) == OLD
        Turn.objects.filter(session=session).update(lease_expires_at=timezone.now() + timedelta(seconds=lease))
    Turn.objects.filter(lease_expires_at__gt=timezone.now(), pk__in=_all_but_one(session)).update(
        lease_expires_at=None, lease_token=None, status="cancelled"
    )
    return Turn.objects.filter(status="running").count


def _all_but_one(session: CouncilSession) -> list[UUID]:
    return list(session.turns.order_by("id").values_list("pk", flat=True)[1:])


def stuck(world: World) -> Callable[[], int]:
    broken = [world.started() for _ in range(OLD)]
    world.started()
    Run.objects.filter(session__in=broken).update(protocol=BROKEN, deadline_at=ago(hours=25))
    return CouncilSession.objects.filter(status="running").count


def paused(world: World) -> Callable[[], int]:
    for days in (31, 31, 400, 29):
        session = services.pause(world.user, world.started().pk)
        Run.objects.filter(session=session).update(paused_at=ago(days=days))
    return CouncilSession.objects.filter(status="paused").count


def drafts(world: World) -> Callable[[], int]:
    for days in (31, 31, 400, 29):
        CouncilSession.objects.filter(pk=world.convene().pk).update(created_at=ago(days=days))
    return CouncilSession.objects.filter(status="draft").count


def texts(world: World) -> Callable[[], int]:
    session = world.started()
    [running] = claims.claim(session.pk, list(session.turns.values_list("pk", flat=True)[:1]), "one").claims
    for turn in (str(running.turn_id), str(session.turns.latest("id").pk), str(uuid4()), "no id at all"):
        nudge.publish_delta("group", turn=turn, attempt=1, start=0, text="So", partial="So")
    return lambda: len(nudge.client().keys(f"{nudge.PARTIAL_KEY}*"))


def watchers(world: World) -> Callable[[], int]:
    now = time.time()
    nudge.client().zadd(f"{presence.KEY}one", {"a:dead": now - 1, "b:dead": now - 70, "a:alive": now + 60})
    nudge.client().zadd(f"{presence.KEY}two", {"c:dead": 5})
    return lambda: sum(int(nudge.client().zcard(f"{presence.KEY}{name}")) for name in ("one", "two"))


def lost_tickets(world: World) -> Callable[[], int]:
    tickets.issue(world.user.pk)
    for number in range(OLD):
        nudge.client().set(f"{tickets.KEY}{number}", "{}")
    return lambda: len(nudge.client().keys(f"{tickets.KEY}*"))


def answers(world: World) -> Callable[[], int]:
    for hours in (25, 25, 500, 23):
        record = IdempotencyRecord.objects.create(user=world.user, key=str(uuid4()), fingerprint=b"", status=201)
        IdempotencyRecord.objects.filter(pk=record.pk).update(created_at=ago(hours=hours))
    return IdempotencyRecord.objects.count


def logins(world: World) -> Callable[[], int]:
    for number, (since, seen) in enumerate(((13, 1), (13, 0), (2, 1), (2, 0))):
        times = {"created_at": ago(hours=since), "last_seen_at": ago(hours=seen)}
        LoginSession.objects.create(digest=LoginSession.hash(str(number)), data="", user=world.user, **times)
    return LoginSession.objects.count


def news(world: World) -> Callable[[], int]:
    UserStream.objects.filter(pk=world.user.pk).update(last_seq=1000)
    UserEvent.objects.all().delete()
    for seq, days in enumerate((91, 91, 400, 89), start=1):
        UserEvent.objects.create(stream_id=world.user.pk, seq=seq, type="withdrawn", created_at=ago(days=days))
    return UserEvent.objects.count


def audited(world: World) -> Callable[[], int]:
    """Three old seals over an entry each (the first is of the world's pack), and one of today. What the cleaner says of itself is not
    among those that are counted."""
    sealing.seal_all()
    for _ in range(OLD):
        audit.record("pack.changed")
        sealing.seal_all()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # the clock cannot be turned back otherwise
        AuditSeal.objects.filter(number__lte=OLD).update(sealed_at=ago(days=401))
        AuditSeal.objects.filter(number=OLD + 1).update(sealed_at=ago(days=399))
    return AuditEntry.objects.exclude(action="audit.forgotten").count


def account_exports(world: World) -> Callable[[], int]:
    """Two that have expired, a file of a worker that died, and one that is still there."""
    for hours in (1, 400, -1):
        name = f"{uuid4().hex}-1.zip"
        exports.path_of(name).write_bytes(b"zip")
        AccountExport.objects.create(user=world.user, status="ready", path=name, expires_at=ago(hours=hours))
    exports.path_of("left.zip").write_bytes(b"zip")
    for path in exports.folder().iterdir():
        os.utime(path, (0, 0))
    return lambda: len(list(exports.folder().iterdir()))


def leavers(world: World) -> Callable[[], int]:
    """With the world's own user, who stays, there are two; the accounts of three go."""
    for days in (8, 9, 400, -1):
        person = User.objects.create_user(f"{uuid4()}@example.org")
        knowledge.create_pack(person, name="Gone")
        Departure.objects.create(user=person, due_at=ago(days=days))
    return Departure.objects.count


def searches(world: World) -> Callable[[], int]:
    for days in (91, 91, 400, 89):
        row = SearchLog.objects.create(pack=world.pack, query="x", mode="lexical", hits=0, took_ms=1)
        SearchLog.objects.filter(pk=row.pk).update(at=ago(days=days))
    return SearchLog.objects.count


def import_files(world: World) -> Callable[[], int]:
    """An upload that an import names, however old, and a file of today count as one that is kept: the folder holds both."""
    named, file = files.create()
    file.close()
    Import.objects.create(pack=world.pack, path=named)
    (files.folder() / "unpacked.d" / "deep").mkdir(parents=True)
    for name in ("one", "two"):
        (files.folder() / name).write_bytes(b"left")
    for path in files.folder().iterdir():
        os.utime(path, (0, 0))
    return lambda: len(list(files.folder().iterdir()))


def trashed_entries(world: World) -> Callable[[], int]:
    drafts = [{"title": str(number), "content": "Text."} for number in range(OLD + 1)]
    for result, days in zip(knowledge.add_entries(world.pack, world.user, drafts), (31, 31, 400, 29), strict=True):
        assert result.entry is not None
        knowledge.delete_entry(result.entry.pk)
        Entry.objects.filter(pk=result.entry.pk).update(deleted_at=ago(days=days))
    return Entry.objects.count


def trashed_packs(world: World) -> Callable[[], int]:
    for days in (31, 31, 400):
        pack = knowledge.create_pack(world.user, name="Trash")
        knowledge.delete_pack(pack.pk)
        KnowledgePack.objects.filter(pk=pack.pk).update(deleted_at=ago(days=days))
    return KnowledgePack.objects.count


def messages(world: World) -> Callable[[], int]:
    endpoint, _ = webhooks.create(world.user, url="https://hooks.example.org/", events=["pack.*"])
    for days in (31, 31, 400, 29):
        endpoint.deliveries.create(
            type="pack.created", payload={}, state="failed", next_attempt_at=None, created_at=ago(days=days)
        )
    return endpoint.deliveries.count


KINDS: dict[str, Callable[[World], Callable[[], int]]] = {
    "late": late,
    "stuck": stuck,
    "paused": paused,
    "drafts": drafts,
    "texts": texts,
    "presence": watchers,
    "tickets": lost_tickets,
    "idempotency": answers,
    "logins": logins,
    "news": news,
    "audit": audited,
    "account-exports": account_exports,
    "departures": leavers,
    "webhooks": messages,
    "searches": searches,
    "import-files": import_files,
    "trashed-entries": trashed_entries,
    "trashed-packs": trashed_packs,
}


def clean(name: str) -> int:
    return cleaning.run(name, BY_NAME[name].cleaning).removed


def sample(metric: str, name: str) -> float | None:
    return REGISTRY.get_sample_value(metric, {"name": name})


def test_each_cleaner_is_tried_here() -> None:
    assert list(KINDS) == list(BY_NAME)


@pytest.mark.django_db
@pytest.mark.forges
@pytest.mark.parametrize("name", KINDS)
def test_what_is_old_goes_and_what_is_not_stays(name: str, world: World) -> None:
    left = KINDS[name](world)
    assert (left(), BY_NAME[name].cleaning.count()) == (OLD + 1, OLD)
    assert clean(name) == OLD
    assert (left(), BY_NAME[name].cleaning.count()) == (1, 0)
    assert clean(name) == 0
    assert left() == 1
    assert sample("quorum_cleanup_removed_total", name) == OLD
    assert sample("quorum_cleanup_last_success_timestamp_seconds", name) == pytest.approx(time.time(), abs=60)


@pytest.mark.forges
@pytest.mark.parametrize("name", KINDS)
def test_two_at_once_do_no_harm(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "SLICE", 1)
    left = KINDS[name](world)
    start, removed, errors = threading.Barrier(2), list[int](), list[Exception]()

    def work() -> None:
        try:
            start.wait(10)
            removed.append(clean(name))
        except Exception as error:  # noqa: BLE001  # shown by the assertion below
            errors.append(error)
        finally:
            connections.close_all()

    both = [threading.Thread(target=work) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert errors == []
    removed.append(clean(name))  # what each of the two passed over because the other was at it
    assert left() == 1
    assert sum(removed) == Cleanup.objects.get(pk=name).removed
    # A pack is purged in many steps by both, and each may say that it is gone.
    assert OLD <= sum(removed) <= (2 * OLD if name == "trashed-packs" else OLD)


# --- What becomes of councils -------------------------------------------------------------------------------------------------


def last_event(session: CouncilSession) -> tuple[str, str]:
    event = SessionEvent.objects.filter(stream=session).latest("seq")
    return event.type, event.payload["reason"]


@pytest.mark.forges
def test_a_council_that_cannot_be_ended_is_failed_and_its_turns_are_cancelled(world: World) -> None:
    session = world.started()
    stuck = Run.objects.filter(session=session)
    stuck.update(protocol=BROKEN, deadline_at=ago(hours=25))
    clean("late")
    session.refresh_from_db()
    assert session.status == "running"  # the sweeper could not, and said so in its log
    clean("stuck")
    session.refresh_from_db()
    assert (session.status, stuck.get().status) == ("failed", "failed")
    assert last_event(session) == ("session.failed", "stuck")
    assert set(session.turns.values_list("status", flat=True)) == {"cancelled"}
    events = SessionEvent.objects.filter(stream=session).values_list("seq", flat=True)
    assert sorted(events) == list(range(1, session.last_seq + 1))


def test_a_council_that_only_nobody_swept_for_a_day_ends_as_at_its_deadline(world: World) -> None:
    session = world.started()
    Run.objects.filter(session=session).update(deadline_at=ago(hours=25))
    assert clean("stuck") == 0
    session.refresh_from_db()
    assert last_event(session)[0] == f"session.{session.status}"
    assert session.status in {"failed", "completed"}
    assert Run.objects.get(session=session).exhausted == "deadline"
    assert session.reason != "stuck"


@pytest.mark.forges
def test_one_broken_council_does_not_keep_the_sweeper_from_the_others(world: World) -> None:
    broken, sound = world.started(), world.started()
    Run.objects.update(deadline_at=ago(seconds=1))
    Run.objects.filter(session=broken).update(protocol=BROKEN)
    clean("late")
    assert CouncilSession.objects.get(pk=broken.pk).status == "running"
    assert CouncilSession.objects.get(pk=sound.pk).status == "failed"


def test_a_forgotten_pause_ends_in_a_stop(world: World) -> None:
    session = services.pause(world.user, world.started().pk)
    Run.objects.update(paused_at=ago(days=31))
    clean("paused")
    assert last_event(session) == ("session.stopped", "paused for too long")
    assert set(session.turns.values_list("status", flat=True)) == {"cancelled"}


# --- Valkey -------------------------------------------------------------------------------------------------------------------


def test_what_lost_its_time_to_live_gets_it_back(world: World) -> None:
    session, client = world.started(), nudge.client()
    [claim] = claims.claim(session.pk, list(session.turns.values_list("pk", flat=True)[:1]), "one").claims
    text, watched = nudge.partial_key(str(claim.turn_id)), f"{presence.KEY}one"
    client.hset(text, mapping={"attempt": 1, "text": "So"})
    client.zadd(watched, {"a:alive": time.time() + 60})
    for name in ("texts", "presence"):
        clean(name)
    assert 0 < int(client.ttl(text)) <= nudge.PARTIAL_TTL_S
    assert 0 < int(client.ttl(watched)) <= limits.PRESENCE_TTL_S + 1


# --- Failures, slices, by hand ------------------------------------------------------------------------------------------------


def test_one_that_fails_does_not_hold_up_the_others_and_is_no_success(world: World) -> None:
    left = trashed_packs(world)
    odd = KnowledgePack.objects.filter(status="deleted").earliest("deleted_at")
    Import.objects.create(pack=odd, path="../../elsewhere")
    with pytest.raises(ValueError, match="outside DATA_DIR"):
        clean("trashed-packs")
    assert left() == 2  # the odd one, and the one that is kept
    assert sample("quorum_cleanup_removed_total", "trashed-packs") == OLD - 1
    assert sample("quorum_cleanup_last_success_timestamp_seconds", "trashed-packs") is None


def test_a_task_whose_time_is_up_goes_to_the_end_of_the_queue(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "SLICE", 2)
    monkeypatch.setattr(tasks, "SLICE_S", -1.0)
    sent: list[object] = []
    monkeypatch.setattr(nudge, "send_task", lambda *args: sent.append(args))
    left = answers(world)
    tasks.cleanup("idempotency")
    assert (left(), sent) == (2, [(TASK, ["idempotency"], "control")])
    assert sample("quorum_cleanup_last_success_timestamp_seconds", "idempotency") is None


def test_by_hand_it_prints_what_it_did(world: World) -> None:
    left, out = drafts(world), StringIO()
    call_command("cleanup", dry_run=True, stdout=out)
    assert left() == OLD + 1
    said = {line.split()[0]: line.split()[1:4] for line in out.getvalue().splitlines()}
    assert list(said) == list(BY_NAME)
    assert (said["drafts"], said["logins"]) == (["3", "to", "clean"], ["0", "to", "clean"])
    call_command("cleanup", "drafts", stdout=(out := StringIO()))
    assert out.getvalue().split()[:3] == ["drafts", "3", "cleaned"]
    assert left() == 1
    with pytest.raises(CommandError, match="No such cleaner: dust"):
        call_command("cleanup", "dust")


# --- One list -----------------------------------------------------------------------------------------------------------------


def test_beat_has_every_cleaner_run_by_a_task_that_workers_know() -> None:
    current_app.loader.import_default_modules()
    for one in CLEANERS:
        entry = settings.CELERY_BEAT_SCHEDULE[f"cleanup-{one.name}"]
        assert entry["task"] in current_app.tasks
        assert entry["options"]["queue"] in {"control", "index"}
        assert entry["schedule"] == one.every_s


def test_the_documentation_lists_them() -> None:
    page = (settings.BASE_DIR / "docs/reliability.md").read_text()
    assert table() in page, f"docs/reliability.md is to say:\n{table()}"
