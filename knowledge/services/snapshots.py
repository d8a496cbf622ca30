"""Publishing: labelled sets of revisions that councils pin and search."""

from __future__ import annotations

import hashlib
from uuid import UUID

from django.db import connection, transaction
from django.db.models.deletion import ProtectedError, RestrictedError

from accounts import audit
from accounts.models import User
from knowledge import news, retention
from knowledge.models import Entry, Evaluation, KnowledgePack, Passage, Snapshot, SnapshotEntry
from knowledge.services import locking
from knowledge.shapes import snapshot_header
from knowledge.states import IndexStatus
from realtime import log
from realtime.errors import Conflict, IllegalState, NotFound


@transaction.atomic
def publish(pack_id: UUID, author: User | None, label: str, note: str = "") -> Snapshot:
    """Keep what the pack's enabled entries say now under ``label``.

    Raises ``IllegalState`` when entries are not indexed yet (``not_indexed``), when there is none (``nothing_to_publish``) or when
    the pack's gate is not passed (``gate_not_evaluated``, ``gate_failed``), and ``Conflict`` for a label in use (``label_taken``).
    """
    pack = locking.locked_pack(pack_id)
    locking.refuse_deleted(pack)
    if pack.snapshots.filter(label=label).exists():
        raise Conflict(f"This pack has a snapshot named {label!r} already.", code="label_taken")
    entries = Entry.objects.filter(pack=pack, deleted_at=None, enabled=True)
    _require_indexed(entries.count(), entries.exclude(index_status=IndexStatus.READY).count())
    _require_gate(pack)
    rows = list(entries.order_by("ordinal", "pk").values_list("revision_id", "pk", "content_hash"))
    snapshot = Snapshot.objects.create(
        pack=pack,
        label=label,
        note=note,
        created_by=author,
        entry_count=len(rows),
        passage_count=Passage.objects.filter(revision__in=entries.values("revision"), lexical__live=True).count(),
        content_hash=hashlib.sha256("\n".join(row[2] for row in rows).encode()).hexdigest(),
    )
    SnapshotEntry.objects.bulk_create(
        (
            SnapshotEntry(snapshot=snapshot, revision_id=revision, entry_id=entry, ordinal=place)
            for place, (revision, entry, _) in enumerate(rows, 1)
        ),
        batch_size=5000,
    )
    retention.count_terms([snapshot.pk])
    log.append(pack, ("snapshot.created", {"snapshot": snapshot_header(snapshot)}))
    news.published(pack, snapshot)
    audit.record("snapshot.published", snapshot, pack=pack.pk)
    return snapshot


@transaction.atomic
def delete_snapshot(pack_id: UUID, snapshot_id: UUID) -> None:
    """Forget a snapshot, and the passages that nothing else shows. Raises ``Conflict`` (``snapshot_pinned``) while a council
    pins it."""
    pack = locking.locked_pack(pack_id)
    locking.refuse_deleted(pack)
    snapshot = pack.snapshots.select_for_update().filter(pk=snapshot_id).first()
    if snapshot is None:
        raise NotFound("There is no such snapshot.")
    header = snapshot_header(snapshot)
    audit.record("snapshot.deleted", snapshot, pack=pack.pk)
    with connection.cursor() as cursor:  # Django would load every row to delete it
        cursor.execute("DELETE FROM knowledge_snapshotterm WHERE snapshot_id = %s", [snapshot_id])
        cursor.execute("DELETE FROM knowledge_snapshotentry WHERE snapshot_id = %s", [snapshot_id])
    try:
        snapshot.delete()
    except (ProtectedError, RestrictedError) as error:
        raise Conflict("A council pins this snapshot.", code="snapshot_pinned") from error
    retention.drop_useless(pack)
    log.append(pack, ("snapshot.deleted", {"snapshot": header}))


def _require_indexed(entries: int, waiting: int) -> None:
    if not entries:
        raise IllegalState("The pack has no enabled entry.", code="nothing_to_publish")
    if waiting:
        raise IllegalState(f"{waiting} of {entries} entries are not indexed.", code="not_indexed")


def _require_gate(pack: KnowledgePack) -> None:
    """Golden questions, where the owner asks for them, must have been answered well enough on this very state of the pack."""
    if pack.gate_publishing is None:
        return
    latest = Evaluation.objects.filter(pack=pack, index_epoch=pack.index_epoch).order_by("-created_at", "-id").first()
    if latest is None:
        raise IllegalState("Evaluate the pack as it is now before publishing it.", code="gate_not_evaluated")
    if latest.ndcg_10 < pack.gate_publishing:
        detail = f"nDCG@10 is {latest.ndcg_10:.3f}; publishing needs {pack.gate_publishing:.3f}."
        raise IllegalState(detail, code="gate_failed")
