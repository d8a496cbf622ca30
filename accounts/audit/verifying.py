"""Checking the chain: the first entry, from the beginning, that is not what was sealed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.db import connection, transaction

from accounts.audit import hashing
from accounts.models_audit import AuditEntry, AuditHead, AuditSeal

FORGOTTEN: Final = "audit.forgotten"
ERASED: Final = "user.erased"


@dataclass(frozen=True)
class Verdict:
    """``fault``: the first thing that is wrong, "" when the log is sound."""

    fault: str
    seals: int
    entries: int  # that were compared with their seal
    forgotten: int  # seals whose entries' time was up
    unsealed: int  # entries in the open window, of which nothing can be said yet

    @property
    def sound(self) -> bool:
        return not self.fault


class _Fault(Exception):
    """What is wrong."""


def verify(*, newest: int | None = None, expected: tuple[int, bytes] | None = None) -> Verdict:
    """Recompute everything that is sealed, or the ``newest`` seals. ``expected``: the number and digest of a seal that was written
    down elsewhere. Reads as of one moment."""
    with transaction.atomic():
        if not connection.savepoint_ids:  # not within somebody else's transaction
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        course = _Course()
        try:
            for _ in course.steps(newest, expected):
                pass
            fault = ""
        except _Fault as error:
            fault = str(error)
        unsealed = AuditEntry.objects.filter(seal=None).count()
        return Verdict(fault, course.seals, course.entries, course.forgotten, unsealed)


class _Course:
    def __init__(self) -> None:
        self.seals = self.entries = self.forgotten = 0
        # Whom the log says to be erased, and up to which seal it says that entries' time was up.
        self.erased = set(AuditEntry.objects.filter(action=ERASED).values_list("object_id", flat=True))
        said = AuditEntry.objects.filter(action=FORGOTTEN).values_list("details__through", flat=True)
        self.through = max((one for one in said if isinstance(one, int)), default=0)

    def steps(self, newest: int | None, expected: tuple[int, bytes] | None) -> Iterator[None]:
        head = AuditHead.objects.filter(pk=1).first()
        last = head.seal if head else 0
        start = max(1, last - newest + 1) if newest else 1
        before = AuditSeal.objects.filter(number=start - 1).first() if start > 1 else None
        if start > 1 and before is None:
            raise _Fault(f"seal {start - 1} was removed")
        previous, place = (bytes(before.digest), before.first + before.entries) if before else (hashing.NOTHING, 1)
        number = start
        for seal in AuditSeal.objects.filter(number__gte=start).order_by("number").iterator(chunk_size=50):
            if seal.number != number:
                raise _Fault(f"seal {number} was removed, and with it entries from number {place}")
            self._seal(seal, previous, place)
            if expected and expected[0] == number and bytes(seal.digest) != expected[1]:
                raise _Fault(f"seal {number} is not the one that was written down")
            previous, place, number = bytes(seal.digest), place + seal.entries, number + 1
            yield
        self._end(head, number, previous, place)
        if expected and not start <= expected[0] < number:
            raise _Fault(f"seal {expected[0]}, which was written down, is not among those that were checked")

    def _seal(self, seal: AuditSeal, previous: bytes, place: int) -> None:
        if bytes(seal.previous) != previous:
            raise _Fault(f"seal {seal.number} does not go on from the one before: one of the two was changed")
        if seal.first != place or hashing.seal(seal) != bytes(seal.digest):
            raise _Fault(f"seal {seal.number} was changed")
        self.seals += 1
        if seal.forgotten_at is None:
            self._entries(seal)
        else:
            self._forgotten(seal)

    def _entries(self, seal: AuditSeal) -> None:
        leaves, place = bytes(seal.leaves), seal.first
        rows = AuditEntry.objects.filter(seal=seal).order_by("number").iterator(chunk_size=1000)
        row = next(rows, None)
        for offset in range(0, len(leaves), 32):
            number = place + offset // 32
            if row is not None and (row.number or 0) < number:
                raise _Fault(f"entry {row.number} ({row.pk}) was inserted into seal {seal.number}")
            if row is None or row.number != number:
                raise _Fault(f"entry {number} of seal {seal.number} was removed")
            self._entry(row, leaves[offset : offset + 32])
            row = next(rows, None)
        if row is not None:
            raise _Fault(f"entry {row.number} ({row.pk}) was inserted into seal {seal.number}")

    def _entry(self, entry: AuditEntry, leaf: bytes) -> None:
        what = f"entry {entry.number} ({entry.pk}) of seal {entry.seal_id}"
        if hashing.leaf(entry, entry.number or 0) != leaf:
            raise _Fault(f"{what} was changed, or another one stands in its place")
        if entry.salt is not None:
            if hashing.commitment(entry) != bytes(entry.commitment):
                raise _Fault(f"{what} was changed: its address, device or the name of its object")
        elif entry.ip or entry.user_agent or entry.object_name:
            raise _Fault(f"{what} was changed: it was erased, and says something again")
        elif not {str(entry.actor_id), entry.object_id} & self.erased:
            raise _Fault(f"{what} was changed: it was erased, and no entry says of whom")
        self.entries += 1

    def _forgotten(self, seal: AuditSeal) -> None:
        self.forgotten += 1
        if self.seals > self.forgotten:
            raise _Fault(f"entry {seal.first} of seal {seal.number} was removed: entries before it are still kept")
        if AuditEntry.objects.filter(seal=seal).exists():
            raise _Fault(f"entry {seal.first} of seal {seal.number} was inserted: its seal says that its time was up")
        if seal.number > self.through:
            raise _Fault(
                f"entry {seal.first} of seal {seal.number} was removed, and no entry says that its time was up"
            )

    def _end(self, head: AuditHead | None, number: int, digest: bytes, place: int) -> None:
        if head is None:
            if number > 1:
                raise _Fault("the head of the chain was removed")
        elif head.seal >= number:
            raise _Fault(f"seal {number} was removed, and with it entries from number {place}")
        elif (head.seal, head.entries, bytes(head.digest)) != (number - 1, place - 1, digest):
            raise _Fault(f"seal {number - 1} is not the one that the head of the chain names")
        stray = AuditEntry.objects.filter(seal__gte=number).order_by("number").first()
        if stray is not None:
            raise _Fault(f"entry {stray.number} ({stray.pk}) was inserted")
