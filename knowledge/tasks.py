"""Celery tasks of the knowledge app. Each takes ids, calls a service and may be lost or run twice without harm."""

from __future__ import annotations

import time
from uuid import UUID

import numpy as np
from celery import shared_task
from django.db import transaction
from django.utils import timezone

from knowledge import ann, indexing, passages, words
from knowledge.models import Entry
from knowledge.services import locked_pack
from realtime import nudge
from realtime.errors import NotFound

SLICE_S = 20.0  # then the pack goes to the end of the queue, so that one import does not hold up everybody


@shared_task(name="knowledge.tasks.index_pack")
def index_pack(pack_id: str) -> None:
    """Embed what the pack has waiting."""
    until = time.monotonic() + SLICE_S
    try:
        while indexing.index_once(UUID(pack_id)):
            if time.monotonic() > until:
                nudge.send_task("knowledge.tasks.index_pack", [pack_id], "index")
                return
    except NotFound:
        return  # purged meanwhile


@shared_task(name="knowledge.tasks.index_entry")
def index_entry(entry_id: str) -> None:
    """Embed one entry, if it is waiting."""
    pack_id = Entry.objects.filter(pk=entry_id).values_list("pack", flat=True).first()
    if pack_id is not None:
        indexing.index_once(pack_id, only=UUID(entry_id))


@shared_task(name="knowledge.tasks.reweigh_pack")
@transaction.atomic
def reweigh_pack(pack_id: str) -> None:
    """New BM25 weights for a large pack whose average passage length has drifted."""
    try:
        pack = locked_pack(UUID(pack_id))
    except NotFound:
        return
    if words.drifted(pack):
        words.reweigh(pack)
        pack.index_epoch += 1
        pack.save(update_fields=list(passages.STATISTICS))


@shared_task(name="knowledge.tasks.sweep")
def sweep() -> None:
    """Wake a worker for every pack with work that nobody is at: lost nudges, dead workers, pauses that are over."""
    for pack_id in indexing.packs_with_work(timezone.now()):
        nudge.send_task("knowledge.tasks.index_pack", [str(pack_id)], "index")


@shared_task(name="knowledge.tasks.build_ann")
def build_ann(space_id: int) -> None:
    """Build the HNSW index of a space that has grown large."""
    ann.build(space_id)


@shared_task(name="knowledge.tasks.check_ann_recall")
def check_ann_recall(space_id: int, query: list[float]) -> None:
    """Compare one approximate search with exact search."""
    ann.check_recall(space_id, np.asarray(query, dtype=np.float32))


@shared_task(name="knowledge.tasks.sweep_ann")
def sweep_ann() -> None:
    """Start and drop indexes as spaces grow, shrink and go; find builds whose worker died."""
    ann.sweep()
