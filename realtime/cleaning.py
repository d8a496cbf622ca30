"""Clean-up: what is of no use any more is removed on a schedule, or by hand (``manage.py cleanup``).

Each app says in a module ``cleaning`` what it has to clean; ``config.cleaning`` is the one list of all of it. A cleaning goes in
slices, each a transaction of its own that takes only what nobody else holds: so any number may be at the same at once, one that is
killed leaves nothing half done, and no lock is held for long.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from realtime import stopping
from realtime.models import Cleanup

logger = logging.getLogger(__name__)

SLICE: Final = 1000  # rows that one transaction deletes, or keys that are read at once
# A cleaner that runs every few seconds need not write each time that it found nothing.
SAID_EVERY: Final = timedelta(minutes=1)

Find = Callable[[], QuerySet[Any]]


@dataclass(frozen=True)
class Cleaning:
    """``slices`` removes one slice after the other, each when it is asked for, and says how many things were in it."""

    count: Callable[[], int]  # how many there are now
    slices: Callable[[], Iterator[int]]


class Done(NamedTuple):
    removed: int
    more: bool  # time was up, or the worker is to end


def run(name: str, cleaning: Cleaning, until: float = float("inf")) -> Done:
    """Clean until nothing is left or ``until`` (of the monotonic clock); not in a transaction. What was removed is recorded slice by
    slice. Whatever a slice raises is raised, and the time of the last success stays what it was."""
    removed = 0
    for some in cleaning.slices():
        removed += some
        _count(name, some)
        if stopping.over(until):
            return Done(removed, more=True)
    _succeeded(name)
    return Done(removed, more=False)


def rows(find: Find) -> Cleaning:
    """Delete the rows that ``find`` finds, with all that Django has go with them."""
    return Cleaning(lambda: find().count(), lambda: _delete(find))


def one_by_one(find: Find, mend: Callable[[Any], bool]) -> Cleaning:
    """Call ``mend`` with the key of each row that ``find`` finds; it takes the locks, looks again and says whether it did
    anything."""
    return Cleaning(lambda: find().count(), lambda: _mend(find, mend))


def _delete(find: Find) -> Iterator[int]:
    while deleted := _delete_slice(find()):
        yield deleted


@transaction.atomic
def _delete_slice(found: QuerySet[Any]) -> int:
    # By name: Django cannot lock what it reads as a compound "pk".
    key = [field.attname for field in found.model._meta.pk_fields]
    locked = found.select_for_update(skip_locked=True, of=("self",)).values_list(*key)[:SLICE]
    keys = [one if len(key) > 1 else one[0] for one in locked]
    found.model._base_manager.filter(pk__in=keys).delete()
    return len(keys)


def _mend(find: Find, mend: Callable[[Any], bool]) -> Iterator[int]:
    return in_turn(_keys(find), lambda key: iter([int(mend(key))]))


def _keys(find: Find) -> Iterator[Any]:
    """Each once, also of those that are still found after they had their turn."""
    page = list(find().order_by("pk").values_list("pk", flat=True)[:SLICE])
    while page:
        yield from page
        page = list(find().filter(pk__gt=page[-1]).order_by("pk").values_list("pk", flat=True)[:SLICE])


def in_turn(keys: Iterable[Any], work: Callable[[Any], Iterator[int]]) -> Iterator[int]:
    """The slices of one after the other. One that fails does not hold up the others: its error is raised when they are done."""
    failure: Exception | None = None
    for key in keys:
        try:
            yield from work(key)
        except (OperationalError, InterfaceError):
            raise  # the database's trouble, not this row's
        except Exception as error:
            logger.exception("%s could not be cleaned up", key)
            failure = error
    if failure is not None:
        raise failure


def _count(name: str, some: int) -> None:
    if some:
        Cleanup.objects.bulk_create([Cleanup(name=name)], ignore_conflicts=True)
        Cleanup.objects.filter(pk=name).update(removed=F("removed") + some)


def _succeeded(name: str) -> None:
    now = timezone.now()
    old = Q(last_success_at=None) | Q(last_success_at__lt=now - SAID_EVERY)
    if not Cleanup.objects.filter(old, pk=name).update(last_success_at=now):
        Cleanup.objects.bulk_create([Cleanup(name=name, last_success_at=now)], ignore_conflicts=True)
