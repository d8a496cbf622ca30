"""What goes from the log, the only two ways there are: entries whose time is up, whole seals from the oldest on, and what is personal
in the entries about a person who is erased. Both are recorded themselves; the chain of seals stays whole."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.audit import sealing
from accounts.audit.recording import record
from accounts.audit.verifying import ERASED, FORGOTTEN
from accounts.models import User
from accounts.models_audit import AuditEntry, AuditSeal
from realtime import cleaning

SEALS: Final = 100  # forgotten in one transaction
ROWS: Final = 1000  # erased in one transaction


def forgettable() -> QuerySet[AuditSeal]:
    return AuditSeal.objects.filter(
        forgotten_at=None, sealed_at__lt=timezone.now() - timedelta(days=settings.AUDIT_DAYS)
    ).order_by("number")


def count() -> int:
    return AuditEntry.objects.filter(seal__in=forgettable()).count()


def slices() -> Iterator[int]:
    """How many entries each transaction removed."""
    while removed := _forget():
        yield removed


@transaction.atomic
def _forget() -> int:
    sealing.wait_for_lock()
    seals = list(forgettable().values_list("number", flat=True)[: min(SEALS, cleaning.SLICE)])
    if not seals:
        return 0
    _permit("forget")
    removed, _ = AuditEntry.objects.filter(seal__in=seals).delete()
    AuditSeal.objects.filter(number__in=seals).update(forgotten_at=timezone.now())
    _permit("")
    record(FORGOTTEN, through=seals[-1], entries=removed)
    return removed


def erase(user: User) -> int:
    """Take what is personal out of the entries that the person made or that are about their account; how many there were. The entries
    stay, with the id that belongs to nobody any more. In steps, and safe to be repeated; not in a transaction."""
    erased = 0
    with transaction.atomic():
        record(ERASED, user)
    while some := _erase_some(user.pk):
        erased += some
    return erased


@transaction.atomic
def _erase_some(person: UUID) -> int:
    about = Q(actor_id=person) | Q(object_type="user", object_id=str(person))
    found = AuditEntry.objects.filter(about, salt__isnull=False).order_by("pk").values_list("pk", flat=True)[:ROWS]
    _permit("erase")
    erased = AuditEntry.objects.filter(pk__in=list(found)).update(ip=None, user_agent="", object_name="", salt=None)
    _permit("")
    return erased


def _permit(what: str) -> None:
    """The triggers let this through until the end of the transaction, or until it is taken back."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('quorum.audit', %s, true)", [what])


CLEANING: Final = cleaning.Cleaning(count, slices)
