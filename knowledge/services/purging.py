"""What becomes of the trash when its time is up.

A purge goes in steps, each a transaction of its own under the pack's lock that deletes one batch and looks again whether the pack
is still due: so any number of workers may be at it, and one that is killed leaves nothing half done. Revisions that another app
refers to by a restricting relation (a decision's citations) stay, without their entry. The pack's own row goes last; cached results go
first, for nobody can have searched the pack since it is in the trash.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from django.db import connection, models, transaction
from django.db.models import Exists, OuterRef

from accounts import audit
from accounts.models import Departure
from knowledge import ann, news, results_cache
from knowledge.imports import files
from knowledge.models import Entry, EntryRevision, Import, KnowledgePack
from knowledge.services.packs import purged_before
from knowledge.states import PackStatus
from realtime import stopping
from realtime.failpoints import failpoint

ENTRIES: Final = 200  # with their revisions and passages, in one step
ROWS: Final = 5_000  # of the other tables

# In this order; each statement deletes a batch of one table and leaves the next one to it once there is nothing left.
_PACK: Final = "t.pack_id = %(pack)s"
_SNAPSHOT: Final = "t.snapshot_id IN (SELECT id FROM knowledge_snapshot WHERE pack_id = %(pack)s)"
_QUESTION: Final = "t.goldenquestion_id IN (SELECT id FROM knowledge_goldenquestion WHERE pack_id = %(pack)s)"
_BEFORE_ENTRIES: Final = (
    ("knowledge_snapshotentry", _SNAPSHOT),
    ("knowledge_snapshotterm", _SNAPSHOT),
    ("knowledge_searchlog", _PACK),
    ("knowledge_evaluation", _PACK),
    ("knowledge_evaluationjob", _PACK),
    ("knowledge_goldenquestion_expected", _QUESTION),
    ("knowledge_goldenquestion", _PACK),
    ("knowledge_importitem", "t.job_id IN (SELECT id FROM knowledge_import WHERE pack_id = %(pack)s)"),
    ("knowledge_passagevector", _PACK),
    ("knowledge_passagelexical", _PACK),
    ("knowledge_passage", _PACK),
    ("knowledge_termstats", _PACK),
    ("knowledge_entryuse", "t.entry_id IN (SELECT id FROM knowledge_entry WHERE pack_id = %(pack)s)"),
)
_AFTER_ENTRIES: Final = (
    ("knowledge_packshare", _PACK),
    ("knowledge_packevent", "t.stream_id = %(pack)s"),
)


def due() -> list[UUID]:
    """Packs whose time in the trash is up, the longest deleted first."""
    return list(_due().order_by("deleted_at").values_list("pk", flat=True))


def is_due(pack_id: UUID) -> bool:
    return _due().filter(pk=pack_id).exists()


def purge(pack_id: UUID, until: float = float("inf")) -> bool:
    """Take the steps that are left, until ``until`` (of the monotonic clock); whether there are more. Safe to be called at any time,
    by anybody, again. Not in a transaction."""
    if is_due(pack_id):
        results_cache.forget(pack_id)
    while step(pack_id):
        failpoint("knowledge.purge.committed")
        if stopping.over(until):
            return True
    return False


@transaction.atomic
def step(pack_id: UUID) -> bool:
    """One batch; False when nothing is left to do. Waits for another worker's step to end."""
    pack = _due().select_for_update(of=("self",)).filter(pk=pack_id).first()
    if pack is None:
        return False  # gone, restored or not yet due
    if not _delete_some(pack):
        audit.record("pack.purged", pack)
        news.pack_purged(pack)
        pack.delete()  # with its snapshots, and the pins on them
    failpoint("knowledge.purge.deleted")
    return True


def _delete_some(pack: KnowledgePack) -> bool:
    """One batch of whatever is left but the pack's own row."""
    if any(_delete_rows(pack, table, where) for table, where in _BEFORE_ENTRIES):
        return True
    if _delete_imports(pack) or _delete_entries(pack) or _delete_spaces(pack):
        return True
    return any(_delete_rows(pack, table, where) for table, where in _AFTER_ENTRIES)


def drop_uncited(revisions: models.QuerySet[EntryRevision], most: int) -> int:
    """Delete those that no other app keeps alive, ``most`` at a time; how many."""
    ids = list(revisions.exclude(_cited()).values_list("pk", flat=True)[:most])
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM knowledge_entryrevision WHERE id = ANY(%s)", [ids])
        return int(cursor.rowcount)


def _due() -> models.QuerySet[KnowledgePack]:
    """Whose time in the trash is up, and whose owner's account is being purged."""
    over = models.Q(deleted_at__lte=purged_before()) | models.Q(owner__departure__state=Departure.State.PURGING)
    return KnowledgePack.objects.filter(over, status=PackStatus.DELETED)


def _delete_rows(pack: KnowledgePack, table: str, where: str) -> int:
    statement = f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT t.ctid FROM {table} t WHERE {where} LIMIT {ROWS}))"  # noqa: S608  # constants of ours
    with connection.cursor() as cursor:
        cursor.execute(statement, {"pack": pack.pk})
        return int(cursor.rowcount)


def _delete_imports(pack: KnowledgePack) -> int:
    """Files first: a row whose file is gone can be deleted again, a file whose row is gone would never be found."""
    jobs = list(Import.objects.filter(pack=pack)[:ENTRIES])
    for job in jobs:
        if job.path:
            _delete_file(job.path)
    Import.objects.filter(pk__in=[job.pk for job in jobs]).delete()
    return len(jobs)


def _delete_file(path: str) -> None:
    root = files.folder().resolve()
    file = files.path_of(path).resolve()
    if file == root or not file.is_relative_to(root):
        raise ValueError(f"an import's file is outside DATA_DIR: {path!r}")
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)


def _delete_entries(pack: KnowledgePack) -> int:
    """Entries and their revisions point at each other; the foreign keys between them are checked at commit."""
    ids = list(Entry.objects.filter(pack=pack).values_list("pk", flat=True)[:ENTRIES])
    if not ids:
        return 0
    revisions = EntryRevision.objects.filter(entry__in=ids)
    cited = list(revisions.filter(_cited()).values_list("pk", flat=True))
    revisions.filter(pk__in=cited).update(entry=None)
    with connection.cursor() as cursor:  # Django would refuse: each entry restricts the deletion of its revision
        cursor.execute("DELETE FROM knowledge_entry WHERE id = ANY(%s)", [ids])
        cursor.execute("DELETE FROM knowledge_entryrevision WHERE entry_id = ANY(%s)", [ids])
    return len(ids)


def _cited() -> models.Q:
    """Revisions that rows of other apps keep alive. This app must not know which apps those are."""
    found = models.Q(pk__in=[])
    for relation in _keepers():
        manager = relation.related_model._default_manager
        found |= models.Q(Exists(manager.filter(**{relation.field.name: OuterRef("pk")})))
    return found


def _keepers() -> Iterator[Any]:
    for relation in EntryRevision._meta.get_fields(include_hidden=True):
        keeps = getattr(relation, "on_delete", None) in (models.PROTECT, models.RESTRICT)
        model: Any = relation.related_model
        if keeps and relation.auto_created and model._meta.app_label != "knowledge":
            yield relation


def _delete_spaces(pack: KnowledgePack) -> int:
    """One space and its index. Its vectors are gone already, so the index is small, but dropping it asks for the whole table for a
    moment: rather than holding up searches behind a long one, give up after a second and let the next sweep try again."""
    space = pack.spaces.first()
    if space is None:
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '1s'")
        cursor.execute(f"DROP INDEX IF EXISTS {ann.index_name(space.pk)}")
        cursor.execute("SET LOCAL lock_timeout = DEFAULT")
    space.delete()
    return 1
