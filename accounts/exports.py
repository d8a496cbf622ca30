"""A person's data as one file: a zip that a worker writes, and that only its owner may fetch until it expires.

As with imports, a claim sets a lease and bumps ``lease_token``. An export reads only, so one whose worker died begins anew, in a file of
its own; which of two workers wins is decided by the conditional update that concludes it, and the other removes what it wrote.
"""

from __future__ import annotations

import logging
import os
import time
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import audit, holdings, own_data
from accounts.models import AccountExport, User
from realtime import nudge, stopping
from realtime.cleaning import Cleaning, in_turn
from realtime.errors import NotFound
from realtime.failpoints import failpoint

log = logging.getLogger(__name__)

TASK: Final = "accounts.tasks.export_account"
LEASE: Final = timedelta(seconds=60)
RENEW_S: Final = 0.5
MAX_ATTEMPTS: Final = 5
OPEN: Final = ("queued", "running")
_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say


class Fenced(Exception):
    """Another worker has taken the export over, or its owner is gone."""


# --- What people do -----------------------------------------------------------------------------------------------------


def request(user: User) -> AccountExport:
    """An export that is to be made. While one is on its way it is that one."""
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)  # two requests at once ask one after the other
        known = AccountExport.objects.filter(user=user, status__in=OPEN).first()
        if known is not None:
            return known
        job = AccountExport.objects.create(user=user)
        audit.record("user.exported", user, export=job.pk)
        nudge.send_task_on_commit(TASK, [str(job.pk)], "index")
    return job


def of(user: User) -> QuerySet[AccountExport]:
    """The person's exports that have not expired."""
    return user.account_exports.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))


def export_of(user: User, export_id: UUID) -> AccountExport:
    """Raises ``NotFound``, also for another person's and one that has expired."""
    found = of(user).filter(pk=export_id).first()
    if found is None:
        raise NotFound("There is no such export.")
    return found


def opened(user: User, export_id: UUID) -> tuple[AccountExport, Iterator[bytes]]:
    """A finished export and its file, in pieces. Raises ``NotFound``, with the code ``export_not_ready`` until it is made."""
    job = export_of(user, export_id)
    if job.status != AccountExport.Status.READY:
        raise NotFound("This export is not ready.", code="export_not_ready")
    try:
        file = path_of(job.path).open("rb")
    except FileNotFoundError as error:
        raise NotFound("The file of this export is gone; ask for another one.") from error
    audit.record("user.export_downloaded", user, export=job.pk)
    return job, _pieces(file)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(1 << 16):
            yield piece


# --- The worker's part --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Work:
    job: AccountExport
    renewed: float = field(default_factory=time.monotonic)

    def alive(self) -> None:
        """Renews the lease now and then. Raises ``Fenced``, or ``Stopping`` when the worker is to end."""
        stopping.check()
        if time.monotonic() - self.renewed >= RENEW_S:
            self.renewed = time.monotonic()
            if not self.mine().update(lease_expires_at=timezone.now() + LEASE):
                raise Fenced

    def mine(self) -> QuerySet[AccountExport]:
        token = self.job.lease_token
        return AccountExport.objects.filter(pk=self.job.pk, lease_token=token, status=AccountExport.Status.RUNNING)

    def give_back(self) -> None:
        self.mine().update(status=AccountExport.Status.QUEUED, lease_expires_at=None, attempt=self.job.attempt - 1)


def run(export_id: UUID) -> None:
    """Make the file, unless somebody is at it. Lost or run twice, it does no harm. Not in a transaction."""
    job = _claim(export_id)
    if job is None:
        return
    work, name = _Work(job), _name(job)
    kept = False
    try:
        with stopping.held(work.give_back):
            _write(work, path_of(name))
            failpoint("accounts.export.written")
            kept = _conclude(work, name)
    except Fenced:
        log.info("export %s is no longer ours", export_id)
    finally:
        if not kept:
            path_of(name).unlink(missing_ok=True)


def _name(job: AccountExport) -> str:
    """Of each attempt's own file."""
    return f"{job.pk.hex}-{job.lease_token}.zip"


@transaction.atomic
def _claim(export_id: UUID) -> AccountExport | None:
    job = waiting(timezone.now()).select_for_update(of=("self",), skip_locked=True).filter(pk=export_id).first()
    if job is None:
        return None
    if job.attempt >= MAX_ATTEMPTS:
        now = timezone.now()
        job.status, job.error = AccountExport.Status.FAILED, "The worker died each time it worked on this export."
        job.finished_at, job.expires_at, job.lease_expires_at = now, now + _kept_for(), None
        job.save(update_fields=["status", "error", "finished_at", "expires_at", "lease_expires_at"])
        return None
    job.status, job.attempt, job.lease_token = AccountExport.Status.RUNNING, job.attempt + 1, job.lease_token + 1
    job.lease_expires_at = timezone.now() + LEASE
    job.save(update_fields=["status", "attempt", "lease_token", "lease_expires_at"])
    return job


def waiting(now: datetime) -> QuerySet[AccountExport]:
    """Those that nobody is at."""
    free = Q(lease_expires_at=None) | Q(lease_expires_at__lt=now)
    return AccountExport.objects.filter(free, status__in=OPEN)


def _write(work: _Work, path: Path) -> None:
    user = User.objects.get(pk=work.job.user_id)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in _members(user):
            info = zipfile.ZipInfo(member.name, _TIME)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o100600 << 16
            with archive.open(info, "w", force_zip64=True) as target:
                for piece in _watched(work, member.pieces):
                    target.write(piece)
            failpoint("accounts.export.member")


def _members(user: User) -> Iterator[holdings.Member]:
    yield from own_data.members(user)
    for holding in holdings.every():
        yield from holding.members(user)


def _watched(work: _Work, pieces: Iterable[bytes]) -> Iterator[bytes]:
    work.alive()
    for piece in pieces:
        work.alive()
        yield piece


@transaction.atomic
def _conclude(work: _Work, name: str) -> bool:
    """Whether it was ours to conclude. One file of a person is enough: those before it go with the next clean-up."""
    now = timezone.now()
    done = work.mine().update(
        status=AccountExport.Status.READY, path=name, size=path_of(name).stat().st_size, lease_expires_at=None,
        finished_at=now, expires_at=now + _kept_for(),
    )  # fmt: skip
    if done:
        older = AccountExport.objects.filter(user=work.job.user_id, expires_at__gt=now).exclude(pk=work.job.pk)
        older.update(expires_at=now)
    return bool(done)


def _kept_for() -> timedelta:
    return timedelta(hours=settings.ACCOUNT_EXPORT_HOURS)


def nudge_lost() -> None:
    """For the sweeper: a worker for each export that nobody is at."""
    for export_id in waiting(timezone.now()).values_list("pk", flat=True):
        nudge.send_task(TASK, [str(export_id)], "index", expires_s=30)


# --- What goes ----------------------------------------------------------------------------------------------------------


def folder() -> Path:
    path = Path(settings.DATA_DIR) / "account-exports"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def path_of(name: str) -> Path:
    return folder() / Path(name).name


def expired() -> QuerySet[AccountExport]:
    return AccountExport.objects.filter(expires_at__lte=timezone.now())


def remove_one(user_id: UUID) -> bool:
    """One export of a person who goes, whatever its state; False when there is none."""
    found = AccountExport.objects.filter(user=user_id).values_list("pk", flat=True).first()
    return found is not None and _remove(AccountExport.objects.filter(pk=found))


def _remove(found: QuerySet[AccountExport]) -> bool:
    """The file first: a row whose file is gone can be deleted again, a file whose row is gone would have to be searched for."""
    with transaction.atomic():
        job = found.select_for_update(of=("self",)).first()
        if job is None:
            return False
        if job.path:
            path_of(job.path).unlink(missing_ok=True)
        job.delete()
    return True


def orphans() -> list[Path]:
    """Files that no row names and that nobody writes to: of workers that died, and of rows that went with their owner."""
    found = [path for path in folder().iterdir() if _changed_at(path) < time.time() - LEASE.total_seconds()]
    named = set(AccountExport.objects.filter(path__in=[path.name for path in found]).values_list("path", flat=True))
    at_work = AccountExport.objects.filter(status=AccountExport.Status.RUNNING, lease_expires_at__gt=timezone.now())
    return [path for path in found if path.name not in named | {_name(job) for job in at_work}]


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")  # removed a moment ago: nothing to be done


def _remove_orphan(path: Path) -> int:
    try:
        path.unlink()
    except FileNotFoundError:
        return 0  # another cleaner was faster
    return 1


def _clean() -> Iterator[int]:
    keys = list(expired().values_list("pk", flat=True))
    yield from in_turn(keys, lambda key: iter([int(_remove(expired().filter(pk=key)))]))
    yield from (_remove_orphan(path) for path in orphans())


CLEANING: Final = Cleaning(lambda: expired().count() + len(orphans()), _clean)
