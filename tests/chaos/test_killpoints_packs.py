"""Every point around a commit of indexing, imports and purges: a process of its own is killed there, once; the next one finishes its
work, and log and rows agree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest
from django.conf import LazySettings, settings
from django.utils import timezone

from accounts.models import User
from knowledge import history, services
from knowledge.imports import files
from knowledge.imports import job as imports_job
from knowledge.models import Entry, EntryRevision, Import, ImportItem, KnowledgePack, Passage, PassageVector
from knowledge.services import imports, purging
from realtime.failpoints import REGISTRY
from tests.knowledge.conftest import ITEMS, index_all
from tests.support.stack import database_url

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.chaos, pytest.mark.xdist_group("live")]

TIMEOUT_S = 120
LONG_AGO = timedelta(days=31)  # longer than any lease, and than the trash keeps packs
TWENTY = "title,content\n" + "".join(f"Note {number},It says {number}.\n" for number in range(20))


class Work(NamedTuple):
    """What is done by the process that is killed, and by the one after it."""

    module: str
    call: str
    argument: UUID


def indexing(pack: KnowledgePack) -> Work:
    services.add_entries(pack, pack.owner, ITEMS)
    return Work("knowledge.indexing", "index_once", pack.pk)


def importing(pack: KnowledgePack) -> Work:
    notes = files.path_of("notes.csv")
    notes.parent.mkdir(exist_ok=True)
    notes.write_text(TWENTY)
    job = imports.create_import(pack, pack.owner, path="notes.csv", filename="notes.csv", media_type="text/csv")
    return Work("knowledge.imports.job", "run", job.pk)


def purging_(pack: KnowledgePack) -> Work:
    services.add_entries(pack, pack.owner, ITEMS)
    index_all(pack)
    services.delete_pack(pack.pk)
    KnowledgePack.objects.filter(pk=pack.pk).update(deleted_at=timezone.now() - LONG_AGO)
    return Work("knowledge.services.purging", "purge", pack.pk)


WORKS = {
    "knowledge.claim": indexing,
    "knowledge.finish": indexing,
    "knowledge.import": importing,
    "knowledge.purge": purging_,
}
POINTS = tuple(name for name in REGISTRY if name.startswith("knowledge."))
SAMPLE = ("knowledge.finish.stored", "knowledge.import.written")


def killed_at(point: str, work: Work) -> None:
    code = f"import django; django.setup()\nfrom {work.module} import {work.call}\n"
    code += f"from uuid import UUID\n{work.call}({work.argument!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "QUORUM_DATA_DIR": str(settings.DATA_DIR),
            "QUORUM_ALLOW_FAILPOINTS": "true",
            "QUORUM_FAILPOINTS": f"{point}=kill",
        },
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, f"{point} was not reached: {done.stdout}{done.stderr}"


def later() -> None:
    """Leases have run out."""
    then = timezone.now() - LONG_AGO
    for model in (Entry, Import):
        model._default_manager.exclude(lease_expires_at=None).update(lease_expires_at=then)


def assert_indexed(pack: KnowledgePack) -> None:
    index_all(pack)
    assert set(Entry.objects.filter(pack=pack).values_list("index_status", flat=True)) == {"ready"}
    assert PassageVector.objects.filter(pack=pack).count() == Passage.objects.filter(pack=pack).count() > 0


def assert_imported(pack: KnowledgePack, work: Work) -> None:
    imports_job.run(work.argument)
    assert Import.objects.get(pk=work.argument).status == "completed"
    assert set(ImportItem.objects.filter(job=work.argument).values_list("status", flat=True)) == {"created"}
    titles = list(Entry.objects.filter(pack=pack).values_list("title", flat=True))
    assert sorted(titles) == sorted(f"Note {number}" for number in range(20))


def assert_purged(pack: KnowledgePack) -> None:
    assert not purging.purge(pack.pk)
    assert not KnowledgePack.objects.filter(pk=pack.pk).exists()
    left = (Entry, Passage, PassageVector)
    assert [model._default_manager.filter(pack=pack.pk).count() for model in left] == [0, 0, 0]
    assert not EntryRevision.objects.exists()


def survive(point: str, user: User) -> None:
    pack = services.create_pack(user, name=point)
    begin = next(begin for prefix, begin in WORKS.items() if point.startswith(prefix))
    work = begin(pack)
    killed_at(point, work)
    if begin is purging_:
        return assert_purged(pack)
    assert history.faults(pack.pk) == [], point
    later()
    if begin is importing:
        assert_imported(pack, work)
    assert_indexed(pack)
    assert history.faults(pack.pk) == [], point
    services.delete_pack(pack.pk)
    KnowledgePack.objects.filter(pk=pack.pk).update(deleted_at=timezone.now() - LONG_AGO)
    assert_purged(pack)  # and nothing hangs on
    return None


@pytest.fixture(autouse=True)
def data_dir(settings: LazySettings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


@pytest.mark.parametrize("point", [pytest.param(p, marks=() if p in SAMPLE else pytest.mark.deep) for p in POINTS])
def test_the_next_process_finishes_what_one_was_killed_at(point: str, user: User) -> None:
    survive(point, user)
