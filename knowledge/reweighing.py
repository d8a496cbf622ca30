"""New BM25 weights for a large pack whose average lengths have drifted, in slices that let its writers in between.

``words.aim`` sets the averages and puts the pack's cursor before all passages, in the transaction of the writer that noticed. From
then on new words get weights for those averages, so what is left to do are the passages beyond the cursor that were there already. A
slice moves the cursor in its own transaction: a worker that dies is followed by another, which goes on from there. When a writer aims
anew, the pass begins again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from django.db import transaction

from knowledge import advisory, words
from knowledge.models import KnowledgePack, PassageLexical
from knowledge.services import locked_pack
from knowledge.states import PackStatus
from realtime import stopping

SLICE_S: Final = 0.25  # for which a slice should hold the pack's lock
FIRST: Final = 50  # passages of the first slice, whose time tells how many the next may have
MOST: Final = 2_000
PAUSE_S: Final = 0.02  # between slices: whoever waits for a row's lock has to wake up before it is taken again


def packs_with_work() -> list[UUID]:
    unfinished = KnowledgePack.objects.filter(reweigh_cursor__isnull=False).exclude(status=PackStatus.DELETED)
    return list(unfinished.values_list("pk", flat=True))


def work(pack_id: UUID, until: float = float("inf")) -> bool:
    """Go on until ``until`` (of the monotonic clock); whether there is more to do. Nothing when somebody else is at it. Not in a
    transaction. Raises ``NotFound``."""
    with advisory.alone(advisory.REWEIGHING, pack_id.int & 0x7FFFFFFF) as ours:
        size = FIRST
        while ours and (pack := _unfinished(pack_id)):
            passages = _beyond(pack, size)
            if took := _slice(pack, passages):
                size = max(1, min(int(len(passages) * SLICE_S / took), 2 * size, MOST))
            if stopping.over(until):
                return True
            time.sleep(PAUSE_S)
    return False


def _unfinished(pack_id: UUID) -> KnowledgePack | None:
    open_packs = KnowledgePack.objects.exclude(status=PackStatus.DELETED)
    return open_packs.filter(pk=pack_id, reweigh_cursor__isnull=False).first()


def _beyond(pack: KnowledgePack, count: int) -> list[UUID]:
    """Passages that may have old weights; those that are added from now on have new ones."""
    rows = PassageLexical.objects.filter(pack=pack, passage__gt=pack.reweigh_cursor).order_by("passage")
    return list(rows.values_list("passage", flat=True)[:count])


@transaction.atomic
def _slice(seen: KnowledgePack, passages: Sequence[UUID]) -> float:
    """Bring these passages up to date, unless the pass that they were chosen for is over. None of them: the pass is at its end.
    Returns the seconds that it took under the lock; 0 when there was nothing to do."""
    pack = locked_pack(seen.pk)
    if _pass(pack) != _pass(seen):
        return 0.0
    started = time.monotonic()
    if passages:
        words.reweigh(pack, passages)
    pack.reweigh_cursor = passages[-1] if passages else None
    pack.index_epoch += 1  # other weights, other scores
    pack.save(update_fields=["reweigh_cursor", "index_epoch"])
    return time.monotonic() - started if passages else 0.0


def _pass(pack: KnowledgePack) -> tuple[object, ...]:
    return pack.reweigh_cursor, pack.weighted_avgdl, pack.weighted_entry_avgdl
