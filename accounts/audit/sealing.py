"""Sealing: what has been committed since the last time gets its numbers and is bound to everything before it.

Entries are numbered here and not when they are written. So it does not matter in which order their transactions end: one that ends
late is not there yet, and goes into the batch after. One sealer is at it at a time; a second one leaves it to the first. All of a
batch happens in one transaction, so that a sealer that dies leaves nothing behind.
"""

from __future__ import annotations

import logging
from typing import Final

from django.db import connection, transaction
from django.utils import timezone

from accounts.audit import hashing
from accounts.models_audit import AuditEntry, AuditHead, AuditSeal
from realtime.failpoints import failpoint

logger = logging.getLogger(__name__)

BATCH: Final = 5000  # entries of one seal
LOCK: Final = 0x5EA1A0D17  # of whoever changes what is sealed


def seal_all() -> int:
    """Seal what there is, batch by batch; how many entries. Not in a transaction."""
    sealed = 0
    while some := seal():
        sealed += some
        if some < BATCH:
            break
    return sealed


def seal() -> int:
    """One batch; 0 when there is nothing to seal, or somebody else is at it."""
    with transaction.atomic():
        if not try_lock():
            return 0
        entries = list(AuditEntry.objects.filter(seal=None).order_by("created_at", "id")[:BATCH])
        if not entries:
            return 0
        new = _bind(entries)
        failpoint("audit.seal.stored")
    # An outside copy of the chain's end: what is in the database alone, whoever owns the database could write anew.
    logger.info("audit seal %d over %d entries: %s", new.number, len(entries), new.digest.hex())
    return len(entries)


def try_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def wait_for_lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _bind(entries: list[AuditEntry]) -> AuditSeal:
    head = AuditHead.objects.filter(pk=1).first()
    number, first = (head.seal + 1, head.entries + 1) if head else (1, 1)
    for place, entry in enumerate(entries, first):
        entry.number, entry.seal_id = place, number
    new = AuditSeal(
        number=number,
        first=first,
        leaves=b"".join(hashing.leaf(entry, place) for place, entry in enumerate(entries, first)),
        previous=bytes(head.digest) if head else hashing.NOTHING,
        sealed_at=timezone.now(),
    )
    new.digest = hashing.seal(new)
    new.save(force_insert=True)
    AuditEntry.objects.bulk_update(entries, ["number", "seal"], batch_size=1000)
    end = {"seal": number, "entries": first + len(entries) - 1, "digest": new.digest}
    if head:
        AuditHead.objects.filter(pk=1).update(**end)
    else:
        AuditHead.objects.create(**end)
    return new
