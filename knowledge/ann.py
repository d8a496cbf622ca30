"""Approximate search of large spaces: one partial HNSW index for each, built, watched and dropped here.

A space with its state and the catalogue's indexes are the truth; ``sweep`` (by beat) starts what is to be built and drops what nobody
needs. Whoever builds holds an advisory lock of the space on its connection, so a build whose worker died is seen and begun again.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from pgvector import HalfVector
from prometheus_client import Histogram

from knowledge import advisory
from knowledge.embeddings import Vector
from knowledge.models import AnnState, EmbeddingSpace, SpaceState
from knowledge.services import locked_pack
from knowledge.states import PackStatus
from realtime import log as event_log
from realtime import nudge
from realtime.errors import NotFound

EF_SEARCH: Final = 100
SAMPLE_DEPTH: Final = 10
SAMPLE_WEIGHT: Final = 0.2  # of the newest sample in the running mean, which starts at 1
REBUILD: Final = timedelta(hours=1)  # after an index was distrusted
PROGRESS_S: Final = 1.0  # between two looks at a build
RECALL = Histogram(
    "quorum_search_ann_recall", "Recall@10 of sampled HNSW searches against exact ones",
    buckets=(0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0),
)  # fmt: skip
_NAME: Final = re.compile(r"vector_ann_(\d+)")


def index_name(space_id: int) -> str:
    return f"vector_ann_{space_id:d}"


# --- Search ---


def nearest(space_id: int, query: Vector, count: int) -> list[UUID]:
    """About the ``count`` nearest live passages of an indexed space, nearest first.

    The space is a constant of the statement (a partial index is only found so) and the statement is never prepared: automatic
    plans outlive the settings they were made under. Sorting is priced out, so that the planner takes the index whatever it thinks.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'relaxed_order', true),"
            " set_config('enable_sort', 'off', true)",
            [str(min(max(EF_SEARCH, count), 1000))],
        )
        # Relaxed order is not quite an order: sorted again outside.
        cursor.cursor.execute(nearest_sql(space_id, len(query), count), [HalfVector(query).to_text()], prepare=False)
        rows = cursor.cursor.fetchall()
        cursor.execute("SELECT set_config('enable_sort', 'on', true)")  # this may be somebody's larger transaction
    return [passage for passage, _ in sorted(rows, key=lambda row: (row[1], row[0]))]


def nearest_sql(space_id: int, dimension: int, count: int) -> str:
    return (
        f"SELECT passage_id, embedding::halfvec({dimension:d}) <=> %s::halfvec({dimension:d}) AS distance"  # noqa: S608  # whole numbers
        f" FROM knowledge_passagevector WHERE space_id = {space_id:d} AND live ORDER BY distance LIMIT {count:d}"
    )


def exact(space_id: int, query: Vector, count: int) -> list[UUID]:
    """The ``count`` nearest live passages, by looking at all of them."""
    dimension = len(query)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT passage_id FROM knowledge_passagevector WHERE space_id = %s AND live"  # noqa: S608  # a whole number
            f" ORDER BY (embedding::halfvec({dimension:d}) <=> %s::halfvec({dimension:d})) + 0, passage_id LIMIT %s",
            [space_id, HalfVector(query).to_text(), count],
        )
        return [row[0] for row in cursor.fetchall()]


# --- Life of an index ---


def sweep() -> None:
    """Start builds, mark the end of builds whose worker died, drop what is too small or gone. Safe in any number."""
    for space in EmbeddingSpace.objects.filter(state=SpaceState.PRESENT).select_related("pack"):
        open_pack = space.pack.status != PackStatus.DELETED
        if open_pack and _wants_index(space):
            nudge.send_task("knowledge.tasks.build_ann", [space.pk], "index")
        elif space.ann_state in (AnnState.READY, AnnState.DISTRUSTED) and (
            not open_pack or space.pack.passage_count < settings.ANN_DROP_BELOW
        ):
            drop(space.pk)
    living = set(EmbeddingSpace.objects.exclude(state=SpaceState.PAST).values_list("pk", flat=True))
    for space_id in _indexed_spaces() - living:
        drop(space_id)


def _wants_index(space: EmbeddingSpace) -> bool:
    """Whether it has none, or one that has been distrusted for a while: what many changes have spoiled is as good as new when it is
    built anew, and what is bad from the start must not be built all day long."""
    due = space.ann_sampled_at is None or space.ann_sampled_at <= timezone.now() - REBUILD
    without = space.ann_state in (AnnState.NONE, AnnState.BUILDING) or (space.ann_state == AnnState.DISTRUSTED and due)
    return without and space.pack.passage_count >= settings.ANN_BUILD_FROM


def build(space_id: int) -> bool:
    """Build the index of the space, present or about to be, without holding up writers; False when there is nothing to do or somebody
    is at it. Takes half a minute for 100,000 passages. Not in a transaction."""
    with advisory.alone(advisory.ANN, space_id) as ours:
        if not ours:
            return False
        living = EmbeddingSpace.objects.exclude(state=SpaceState.PAST).select_related("pack")
        space = living.filter(pk=space_id).first()
        if space is None or not _wants_index(space):
            return False
        _set_state(space_id, [AnnState.NONE, AnnState.BUILDING, AnnState.DISTRUSTED], AnnState.BUILDING)
        _drop_index(space_id)  # what a build that died has left is invalid
        with _progress(space_id), connection.cursor() as cursor:
            cursor.execute(
                f"CREATE INDEX CONCURRENTLY {index_name(space_id)} ON knowledge_passagevector"
                f" USING hnsw ((embedding::halfvec({space.dimension:d})) halfvec_cosine_ops)"
                f" WHERE space_id = {space_id:d} AND live"
            )
        return _set_state(space_id, [AnnState.BUILDING], AnnState.READY, ann_recall=None, ann_sampled_at=None)


def drop(space_id: int) -> None:
    """Search the space exactly from now on, and drop its index. Also for a space that is gone. Not in a transaction."""
    with advisory.alone(advisory.ANN, space_id) as ours:
        if ours:
            _set_state(space_id, [AnnState.READY, AnnState.DISTRUSTED, AnnState.BUILDING], AnnState.NONE)
            _drop_index(space_id)


def check_recall(space_id: int, query: Vector) -> float | None:
    """Recall of one approximate search. When the running mean falls too low, the space is distrusted: searched exactly."""
    space = EmbeddingSpace.objects.filter(pk=space_id, ann_state=AnnState.READY).first()
    if space is None or len(query) != space.dimension:
        return None
    truth = exact(space_id, query, SAMPLE_DEPTH)
    if not truth:
        return None
    recall = len(set(truth) & set(nearest(space_id, query, SAMPLE_DEPTH))) / len(truth)
    RECALL.observe(recall)
    before = 1.0 if space.ann_recall is None else space.ann_recall
    mean = (1 - SAMPLE_WEIGHT) * before + SAMPLE_WEIGHT * recall
    sampled = {"ann_recall": mean, "ann_sampled_at": timezone.now()}
    if mean < settings.ANN_MIN_RECALL:
        _set_state(space_id, [AnnState.READY], AnnState.DISTRUSTED, **sampled)
    else:
        EmbeddingSpace.objects.filter(pk=space_id, ann_state=AnnState.READY).update(**sampled)
    return recall


def maybe_sample(space_id: int, query: Vector) -> None:
    """Have a share of the searches compared with exact search, in the background."""
    if random.random() < settings.ANN_SAMPLE_SHARE:  # noqa: S311  # sampling, no secret
        nudge.send_task("knowledge.tasks.check_ann_recall", [space_id, [round(float(x), 5) for x in query]], "index")


@transaction.atomic
def _set_state(space_id: int, before: Sequence[AnnState], after: AnnState, **fields: Any) -> bool:
    """A conditional step of the space's index, with its event; False when the space is gone or in another state."""
    pack_id = EmbeddingSpace.objects.filter(pk=space_id).values_list("pack", flat=True).first()
    if pack_id is None:
        return False
    try:
        pack = locked_pack(pack_id)
    except NotFound:
        return False
    if not EmbeddingSpace.objects.filter(pk=space_id, ann_state__in=before).update(ann_state=after, **fields):
        return False
    pack.index_epoch += 1  # what a search finds, and how, may differ from now on
    pack.save(update_fields=["index_epoch"])
    recall = {"recall": round(fields["ann_recall"], 4)} if fields.get("ann_recall") is not None else {}
    event_log.append(pack, ("pack.index_changed", {"index": {"space": space_id, "state": after.value, **recall}}))
    return True


def _drop_index(space_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index_name(space_id)}")


def _indexed_spaces() -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'knowledge_passagevector'")
        matches = [_NAME.fullmatch(name) for (name,) in cursor.fetchall()]
    return {int(match[1]) for match in matches if match}


# --- Progress ---


@contextmanager
def _progress(space_id: int) -> Iterator[None]:
    """Tell how the build on this connection gets on, from a thread with a connection of its own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(space_id, backend, done), name=f"ann-progress-{space_id}")
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(space_id: int, backend: int, done: threading.Event) -> None:
    told: tuple[str, int] | None = None
    try:
        while not done.wait(PROGRESS_S):
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT phase, tuples_done, tuples_total FROM pg_stat_progress_create_index WHERE pid = %s",
                    [backend],
                )
                row = cursor.fetchone()
            if row and (row[0], _twentieth(*row[1:])) != told:
                told = (row[0], _twentieth(*row[1:]))
                _tell(space_id, *row)
    finally:
        connection.close()


def _twentieth(done: int, total: int) -> int:
    return 20 * done // total if total else 0


@transaction.atomic
def _tell(space_id: int, phase: str, done: int, total: int) -> None:
    pack_id = EmbeddingSpace.objects.filter(pk=space_id).values_list("pack", flat=True).first()
    if pack_id is None:
        return
    progress = {"space": space_id, "state": AnnState.BUILDING.value, "phase": phase, "done": done, "total": total}
    event_log.append(locked_pack(pack_id), ("pack.index_progress", {"index": progress}))
