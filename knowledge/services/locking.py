"""What the services share: row locks, checks under them, and what remains to be done after words changed."""

from __future__ import annotations

from uuid import UUID

from knowledge import passages
from knowledge.models import Entry, KnowledgePack
from knowledge.states import PackStatus
from realtime import nudge
from realtime.errors import IllegalState, NotFound


def locked_pack(pack_id: UUID) -> KnowledgePack:
    """The pack, its row locked until the transaction ends. Readers and foreign keys to it are not held up."""
    pack = KnowledgePack.objects.select_for_update(no_key=True).filter(pk=pack_id).first()
    if pack is None:
        raise NotFound("There is no such knowledge pack.")
    return pack


def request_indexing(pack: KnowledgePack) -> None:
    """Wake an index worker after the commit. When that is lost, the sweeper finds the entries."""
    nudge.send_task_on_commit("knowledge.tasks.index_pack", [str(pack.pk)], "index")


def locked_entry(entry_id: UUID) -> tuple[KnowledgePack, Entry]:
    pack_id = Entry.objects.filter(pk=entry_id).values_list("pack", flat=True).first()
    if pack_id is None:
        raise NotFound("There is no such entry.")
    pack = locked_pack(pack_id)
    entry = Entry.objects.select_for_update(no_key=True).filter(pk=entry_id, deleted_at__isnull=True).first()
    if entry is None:
        raise NotFound("There is no such entry.")
    return pack, entry


def after_words_changed(pack: KnowledgePack) -> None:
    passages.settle(pack)
    pack.save(update_fields=["entry_count", "updated_at", *passages.STATISTICS])
    request_indexing(pack)


def refuse_deleted(pack: KnowledgePack) -> None:
    if pack.status == PackStatus.DELETED:
        raise NotFound("There is no such knowledge pack.")


def require_open(pack: KnowledgePack) -> None:
    if pack.status in (PackStatus.ARCHIVED, PackStatus.DELETED):
        raise IllegalState(f"the pack is {pack.status}: its entries cannot be changed", code="pack_closed")
