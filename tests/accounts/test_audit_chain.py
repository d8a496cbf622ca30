"""The chain of the audit log: whatever is changed, removed or inserted is found and named; sealers neither lose nor repeat anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import F
from django.utils import timezone

from accounts import audit
from accounts.audit import hashing, sealing
from accounts.audit.verifying import verify
from accounts.models_audit import AuditEntry, AuditHead, AuditSeal

PROJECT = Path(__file__).resolve().parents[2]
PER_SEAL = 3


@contextmanager
def tampering() -> Iterator[None]:
    """As somebody who owns the database: without triggers and foreign keys."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield
        cursor.execute("SET LOCAL session_replication_role = origin")


def write(count: int) -> None:
    for number in range(count):
        audit.record("pack.changed", fields=[f"field {number}"], status="active")


@pytest.fixture
def chain(db: None) -> list[AuditEntry]:
    """Nine entries under three seals."""
    for _ in range(3):
        write(PER_SEAL)
        assert sealing.seal_all() == PER_SEAL
    assert verify().sound
    return list(AuditEntry.objects.order_by("number"))


def fault() -> str:
    return verify().fault


def test_a_sound_chain_is_numbered_without_gaps(chain: list[AuditEntry]) -> None:
    assert [(entry.number, entry.seal_id) for entry in chain] == [(n + 1, n // PER_SEAL + 1) for n in range(9)]
    write(2)
    found = verify()
    assert (found.fault, found.seals, found.entries, found.forgotten, found.unsealed) == ("", 3, 9, 0, 2)
    assert (verify(newest=1).entries, verify(newest=100).entries) == (PER_SEAL, 9)
    call_command("verify_audit", stdout=(out := StringIO()))
    assert "is sound: 3 seals, 9 entries" in out.getvalue()


OTHER: dict[str, object] = {
    "id": UUID(int=7),
    "created_at": timezone.now() - timedelta(days=3),
    "action": "pack.trashed",
    "outcome": "refused",
    "actor_kind": "user",
    "actor_id": UUID(int=7),
    "key_id": UUID(int=7),
    "object_type": "council",
    "object_id": "7",
    "object_name": "Other",
    "details": {"fields": ["field 0"], "status": "draft"},
    "request_id": "other",
    "ip": "192.0.2.7",
    "user_agent": "Other",
    "salt": bytes(16),
    "commitment": bytes(32),
}


def test_every_column_is_tried_here() -> None:
    columns = {field.attname for field in AuditEntry._meta.concrete_fields}
    assert columns == {*OTHER, "number", "seal_id"}  # those two are moved about below


@pytest.mark.parametrize("number", [1, 5, 9])
@pytest.mark.parametrize("column", OTHER)
def test_a_changed_column_is_found_and_named(chain: list[AuditEntry], column: str, number: int) -> None:
    with tampering():
        assert AuditEntry.objects.filter(number=number).update(**{column: OTHER[column]}) == 1
    assert f"entry {number} (" in fault()
    assert "was changed" in fault()
    with pytest.raises(CommandError, match=rf"entry {number} \(.* was changed"):
        call_command("verify_audit")


@pytest.mark.parametrize("number", range(1, 10))
def test_a_removed_entry_is_found_and_named(chain: list[AuditEntry], number: int) -> None:
    with tampering():
        AuditEntry.objects.filter(number=number).delete()
    assert f"entry {number} of seal {(number + 2) // 3} was removed" in fault()


def insert(**place: int) -> AuditEntry:
    audit.record("pack.changed")
    entry = AuditEntry.objects.get(seal=None)
    AuditEntry.objects.filter(pk=entry.pk).update(**place)
    return entry


@pytest.mark.parametrize(("number", "seal"), [(0, 1), (10, 1), (10, 2), (10, 3), (11, 4), (-1, 9)])
def test_an_inserted_entry_is_found_and_named(chain: list[AuditEntry], number: int, seal: int) -> None:
    with tampering():
        entry = insert(number=number, seal_id=seal)
    assert str(entry.pk) in fault()
    assert "was inserted" in fault()


@pytest.mark.parametrize("number", [1, 5, 9])
def test_an_entry_in_anothers_place_is_found(chain: list[AuditEntry], number: int) -> None:
    with tampering():
        AuditEntry.objects.filter(number=number).delete()
        insert(number=number, seal_id=(number + 2) // 3)
    assert f"entry {number} (" in fault()


def test_two_that_changed_places_are_found(chain: list[AuditEntry]) -> None:
    with tampering():
        AuditEntry.objects.filter(number=4).update(number=99)
        AuditEntry.objects.filter(number=5).update(number=4)
        AuditEntry.objects.filter(number=99).update(number=5)
    assert "entry 4 (" in fault()


def test_one_pushed_in_with_all_others_moved_up_is_found(chain: list[AuditEntry]) -> None:
    with tampering():
        for entry in reversed(chain[4:]):
            AuditEntry.objects.filter(pk=entry.pk).update(number=F("number") + 1)
        insert(number=5, seal_id=2)
    assert "entry 5 (" in fault()


@pytest.mark.parametrize("seal", [1, 2, 3])
def test_a_removed_batch_is_found(chain: list[AuditEntry], seal: int) -> None:
    with tampering():
        AuditEntry.objects.filter(seal=seal).delete()
    assert f"entry {3 * seal - 2} of seal {seal} was removed" in fault()


@pytest.mark.parametrize("seal", [1, 2, 3])
@pytest.mark.parametrize("with_entries", [True, False])
def test_a_removed_seal_is_found(chain: list[AuditEntry], seal: int, with_entries: bool) -> None:
    with tampering():
        if with_entries:
            AuditEntry.objects.filter(seal=seal).delete()
        else:
            AuditEntry.objects.filter(seal=seal).update(seal=None, number=None)  # as if it were still to be sealed
        AuditSeal.objects.filter(number=seal)._raw_delete("default")
    assert f"seal {seal} was removed, and with it entries from number {3 * seal - 2}" in fault()


@pytest.mark.parametrize(
    "change",
    [
        {"first": 2},
        {"leaves": bytes(96)},
        {"previous": bytes(31) + b"x"},
        {"digest": bytes(32)},
        {"sealed_at": timezone.now() - timedelta(days=9)},
    ],
    ids=lambda change: next(iter(change)),
)
@pytest.mark.parametrize("seal", [1, 2, 3])
def test_a_changed_seal_is_found(chain: list[AuditEntry], seal: int, change: dict[str, object]) -> None:
    with tampering():
        AuditSeal.objects.filter(number=seal).update(**change)
    assert f"seal {seal} " in fault()
    assert "changed" in fault()


def reseal(number: int) -> bytes:
    """Make a seal anew over what its entries say now, as a forger would."""
    one = AuditSeal.objects.get(number=number)
    entries = AuditEntry.objects.filter(seal=number).order_by("number")
    if one.forgotten_at is None:
        one.leaves = b"".join(hashing.leaf(entry, entry.number or 0) for entry in entries)
    before = AuditSeal.objects.filter(number=number - 1).first()
    one.previous = bytes(before.digest) if before else hashing.NOTHING
    digest = hashing.seal(one)
    AuditSeal.objects.filter(number=number).update(leaves=one.leaves, previous=one.previous, digest=digest)
    return digest


@pytest.mark.parametrize("seal", [1, 2])
def test_a_seal_made_anew_does_not_fit_the_next(chain: list[AuditEntry], seal: int) -> None:
    with tampering():
        AuditEntry.objects.filter(number=3 * seal).update(outcome="refused")
        reseal(seal)
    assert f"seal {seal + 1} does not go on from the one before" in fault()


def test_the_last_seal_made_anew_does_not_fit_the_head(chain: list[AuditEntry]) -> None:
    with tampering():
        AuditEntry.objects.filter(number=9).update(outcome="refused")
        reseal(3)
    assert fault() == "seal 3 is not the one that the head of the chain names"
    with tampering():
        AuditHead.objects.all()._raw_delete("default")
    assert fault() == "the head of the chain was removed"


def test_a_whole_new_chain_differs_from_what_was_written_down(chain: list[AuditEntry]) -> None:
    noted = AuditSeal.objects.get(number=2).digest
    with tampering():
        AuditEntry.objects.filter(number=1).update(outcome="refused")
        for number in (1, 2, 3):
            digest = reseal(number)
        AuditHead.objects.update(digest=digest)
    assert fault() == ""  # nothing in the database says otherwise: docs/audit.md
    assert verify(expected=(2, bytes(noted))).fault == "seal 2 is not the one that was written down"
    with pytest.raises(CommandError, match="not the one that was written down"):
        call_command("verify_audit", seal=f"2:{bytes(noted).hex()}")
    with pytest.raises(CommandError, match="64 hexadecimal digits"):
        call_command("verify_audit", seal="2")


def test_a_chain_that_was_cut_off_misses_what_was_written_down(chain: list[AuditEntry]) -> None:
    noted = bytes(AuditSeal.objects.get(number=3).digest)
    with tampering():
        AuditEntry.objects.filter(seal=3).delete()
        AuditSeal.objects.filter(number=3)._raw_delete("default")
        AuditHead.objects.update(seal=2, entries=6, digest=AuditSeal.objects.get(number=2).digest)
    assert fault() == ""
    assert "seal 3, which was written down" in verify(expected=(3, noted)).fault


def test_each_seal_is_written_to_the_servers_log(db: None, caplog: pytest.LogCaptureFixture) -> None:
    write(1)
    with caplog.at_level("INFO"):
        sealing.seal_all()
    assert f"audit seal 1 over 1 entries: {bytes(AuditSeal.objects.get().digest).hex()}" in caplog.text


# --- The database refuses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda: AuditEntry.objects.filter(number=1).update(outcome="refused"),
        lambda: AuditEntry.objects.filter(number=1).update(ip=None, user_agent="", object_name="", salt=None),
        lambda: AuditEntry.objects.filter(number=1).update(number=77),
        lambda: AuditEntry.objects.filter(number=1).delete(),
        lambda: AuditEntry.objects.filter(seal=None).delete(),
        lambda: AuditEntry.objects.filter(seal=None).update(number=77, seal=1, outcome="refused"),
        lambda: AuditSeal.objects.filter(number=1).update(leaves=b""),
        lambda: AuditSeal.objects.filter(number=1).update(forgotten_at=timezone.now()),
        lambda: AuditSeal.objects.filter(number=1)._raw_delete("default"),
        lambda: AuditHead.objects.update(seal=1),
        lambda: AuditHead.objects.all()._raw_delete("default"),
    ],
)
def test_what_is_written_stays(chain: list[AuditEntry], change: Callable[[], object]) -> None:
    write(1)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        change()
    assert verify().sound


def test_nobody_sets_the_moment_or_the_number(chain: list[AuditEntry]) -> None:
    long_ago = timezone.now() - timedelta(days=99)
    entry = AuditEntry(
        action="pack.changed", actor_kind="system", object_type="pack", commitment=b"", number=4, seal_id=2
    )
    entry.created_at = long_ago
    entry.save(force_insert=True)
    entry.refresh_from_db()
    assert (entry.number, entry.seal_id) == (None, None)
    assert entry.created_at > timezone.now() - timedelta(minutes=5)


# --- Sealers -----------------------------------------------------------------------------------------------------------


def elsewhere(work: Callable[[], object]) -> threading.Thread:
    """On a connection of its own."""

    def whole() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=whole)
    thread.start()
    return thread


@pytest.mark.django_db(transaction=True)
def test_an_entry_that_is_committed_late_goes_into_the_next_batch() -> None:
    written, go_on = threading.Event(), threading.Event()

    def late() -> None:
        with transaction.atomic():
            audit.record("pack.trashed")
            written.set()
            assert go_on.wait(30)

    thread = elsewhere(late)
    assert written.wait(30)
    write(2)
    assert sealing.seal_all() == 2
    go_on.set()
    thread.join(30)
    write(1)
    assert sealing.seal_all() == 2
    found = list(AuditEntry.objects.order_by("number"))
    assert [(one.number, one.seal_id) for one in found] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    assert found[2].action == "pack.trashed"
    assert found[2].created_at < found[0].created_at
    assert verify().sound


@pytest.mark.django_db(transaction=True)
def test_many_sealers_and_writers_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "BATCH", 4)
    writers = [elsewhere(lambda: write(15)) for _ in range(3)]
    sealed: list[int] = []

    def work() -> None:
        sealed.extend(sealing.seal_all() for _ in range(10))

    sealers = [elsewhere(work) for _ in range(3)]
    for one in (*writers, *sealers):
        one.join(60)
    sealed.append(sealing.seal_all())
    assert sum(sealed) == AuditEntry.objects.exclude(seal=None).count() == 45
    assert verify().fault == ""
    assert list(AuditEntry.objects.order_by("number").values_list("number", flat=True)) == list(range(1, 46))


@pytest.mark.django_db(transaction=True)
def test_a_second_sealer_leaves_it_to_the_first() -> None:
    write(1)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            sealing.wait_for_lock()
            held.set()
            assert done.wait(30)

    thread = elsewhere(hold)
    assert held.wait(30)
    assert sealing.seal_all() == 0
    done.set()
    thread.join(30)
    assert sealing.seal_all() == 1


@pytest.mark.django_db(transaction=True)
def test_a_sealer_that_is_killed_leaves_nothing_behind() -> None:
    write(3)
    assert sealing.seal_all() == 3
    write(2)
    base, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    env = {
        **os.environ,
        "DATABASE_URL": f"{base}/{connection.settings_dict['NAME']}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "QUORUM_ALLOW_FAILPOINTS": "true",
        "QUORUM_FAILPOINTS": "audit.seal.stored=kill",
    }
    code = "import django; django.setup()\nfrom accounts.tasks import seal_audit\nseal_audit()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = verify()
    assert (found.fault, found.seals, found.unsealed) == ("", 1, 2)
    assert _sealed_within(30) == 2
    assert (verify().fault, verify().entries) == ("", 5)


def _sealed_within(seconds: float) -> int:
    """The lock of a killed process goes when the server notices that it is gone."""
    give_up = threading.Event()
    for _ in range(int(seconds * 10)):
        if sealed := sealing.seal_all():
            return sealed
        give_up.wait(0.1)
    return 0


def test_hashes_are_as_the_documentation_says() -> None:
    """Figures from elsewhere: ``printf … | sha256sum``."""
    entry = AuditEntry(
        id=UUID(int=1), action="pack.created", outcome="allowed", actor_kind="user", actor_id=UUID(int=2), object_type="pack",
        object_id="é", details={"b": 1, "a": [True, None]}, request_id="r", salt=bytes(16), ip="192.0.2.1", user_agent="x",
    )  # fmt: skip
    entry.created_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.get_default_timezone())
    entry.commitment = hashing.commitment(entry)
    assert bytes(entry.commitment).hex() == COMMITMENT
    assert hashing.leaf(entry, 1).hex() == LEAF


COMMITMENT = "dbc21232752a9b51b5b917d74ac7ac49408300e2967ca43753a86556fbe26c1d"
LEAF = "4898b489f8953660cb6ebbd15557997b3172e998cf9aaad05f756335dbc69110"


def test_a_random_id_is_no_action(db: None) -> None:
    with pytest.raises(ValueError, match="no action"):
        audit.record(str(uuid4()))
