"""Embedding spaces in the background: fill the future one, let it change places with the present, drop the past.

One worker at a time fills a space, under a lease with a fencing token. The rows say what is left to do (passages of the pack that have
no vector in the space), so what is written, cut or revised meanwhile is found too, and a killed worker's successor goes on from the
last batch. Models are called outside transactions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone
from pgvector import HalfVector

from knowledge import ann, chunking, embeddings, passages
from knowledge.embeddings import Embedder, Vector
from knowledge.errors import EmbeddingError
from knowledge.models import AnnState, EmbeddingSpace, Entry, KnowledgePack, Passage, PassageVector, SpaceState
from knowledge.services import locked_pack
from knowledge.services.spaces import Wanted, begin_migration, retire, wanted
from knowledge.shapes import pack_embedding
from knowledge.states import IndexStatus, PackStatus
from realtime import log as event_log
from realtime import nudge, stopping

log = logging.getLogger(__name__)

BATCH: Final = 256  # passages; sorted by length among themselves
LEASE: Final = timedelta(seconds=settings.INDEX_LEASE_S)
RENEW_S: Final = settings.INDEX_LEASE_S / 6
TELL: Final = timedelta(seconds=1)  # between two events of progress
BACKOFF: Final = timedelta(seconds=2)  # doubled with each failure in a row
BACKOFF_MAX: Final = timedelta(minutes=5)
INDEX_WAIT: Final = timedelta(seconds=10)  # between two looks at the index of a space that is otherwise complete
INDEX_WAITS: Final = 90  # a quarter of an hour
RECUT_ENTRIES: Final = 32
DROP_BATCH: Final = 10_000


def present_space(pack_id: UUID) -> EmbeddingSpace | None:
    """The space that the pack's searches use."""
    present = EmbeddingSpace.objects.filter(pack=pack_id, state=SpaceState.PRESENT)
    return present.select_related("embedding", "pack").first()


def missing(space: EmbeddingSpace) -> QuerySet[Passage]:
    """Passages without a vector in the space, of what is searched and of what snapshots show. Those of entries that the present
    model has refused are not waited for."""
    refused = Q(entry__index_status=IndexStatus.FAILED)
    return lacking(Passage.objects.filter(pack=space.pack_id), space).exclude(refused).order_by("pk")


def lacking(passages_: QuerySet[Passage], space: EmbeddingSpace | None) -> QuerySet[Passage]:
    """Those that have no vector in the space; all when there is no space."""
    there = PassageVector.objects.filter(space_id=space.pk if space else None, passage_id=OuterRef("pk"))
    return passages_.filter(~Exists(there))


# --- What the sweeper asks ------------------------------------------------------------------------------------------


def packs_with_work(now: datetime) -> list[UUID]:
    """Packs whose spaces nobody is at work on, although there is something to do: a future to fill, another model in the settings, a
    newer way of cutting."""
    free = (Q(lease_expires_at=None) | Q(lease_expires_at__lt=now)) & (Q(available_at=None) | Q(available_at__lte=now))
    filling = Q(pack__spaces__state=SpaceState.FUTURE)
    elsewhere = Q(pack__embedding=None) & ~Q(embedding=None, model=embeddings.default_name())
    behind = Q(state=SpaceState.PRESENT) & (elsewhere | ~Q(chunker_version=chunking.CHUNKER_VERSION)) & ~filling
    due = EmbeddingSpace.objects.filter(Q(state=SpaceState.FUTURE) | behind).filter(free)
    return list(due.exclude(pack__status=PackStatus.DELETED).values_list("pack", flat=True).distinct())


def droppable(now: datetime) -> QuerySet[EmbeddingSpace]:
    before = now - timedelta(seconds=settings.SPACE_GRACE_S)
    return EmbeddingSpace.objects.filter(Q(retired_at=None) | Q(retired_at__lte=before), state=SpaceState.PAST)


# --- Filling --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Filling:
    """A space that this worker may fill while its lease lasts."""

    space: EmbeddingSpace
    pack_name: str
    token: int
    renewed: float = field(default_factory=time.monotonic)
    failed: bool = False  # a text was refused in this pass

    def beat(self) -> None:
        """Prolong the lease, every few seconds. Raises ``Stopping`` when the worker is to end."""
        stopping.check()
        if time.monotonic() - self.renewed >= RENEW_S:
            mine = EmbeddingSpace.objects.filter(pk=self.space.pk, lease_token=self.token)
            mine.update(lease_expires_at=timezone.now() + LEASE)
            self.renewed = time.monotonic()


def work(pack_id: UUID, until: float) -> bool:
    """Bring the pack's spaces on until ``until`` (of the monotonic clock); whether there is more to do at once."""
    filling = claim(pack_id)
    while filling is not None:
        advance = fill_batch if filling.space.state == SpaceState.FUTURE else recut_batch
        with stopping.held(partial(give_back, filling)):
            more = advance(filling)
        if not more:
            filling = claim(pack_id)  # the next stage, if there is one
        elif stopping.over(until):
            release(filling)
            return True
    return False


def claim(pack_id: UUID) -> Filling | None:
    """Lease the pack's future space, or its present one when only its passages are cut in an old way. Begins a migration first when
    the settings name another model. None: nothing to do, or somebody else is at it. Raises ``NotFound``."""
    goal = _goal(pack_id)
    now = timezone.now()
    with transaction.atomic():
        pack = locked_pack(pack_id)
        if pack.status == PackStatus.DELETED:
            return None
        if goal is not None and pack.embedding_id is None:
            begin_migration(pack, goal)
        space = _unfinished(pack)
        if space is None or (space.lease_expires_at and space.lease_expires_at >= now):
            return None
        if space.available_at and space.available_at > now:
            return None
        space.lease_token += 1
        space.lease_expires_at = now + LEASE
        space.save(update_fields=["lease_token", "lease_expires_at"])
    return Filling(space, pack.name, space.lease_token)


def _goal(pack_id: UUID) -> Wanted | None:
    """What the settings want of a pack that has other vectors; None when all is well or the settings' model does not answer."""
    present = present_space(pack_id)
    if present is None or present.pack.embedding_id is not None:
        return None
    if present.embedding_id is None and present.model == embeddings.default_name():
        return None
    try:
        return wanted(None)
    except EmbeddingError as error:
        EmbeddingSpace.objects.filter(pk=present.pk).update(error=error.detail)
        return None


def _unfinished(pack: KnowledgePack) -> EmbeddingSpace | None:
    spaces = pack.spaces.select_related("embedding").select_for_update(no_key=True, of=("self",))
    future = spaces.filter(state=SpaceState.FUTURE).first()
    old_cut = Q(state=SpaceState.PRESENT) & ~Q(chunker_version=chunking.CHUNKER_VERSION)
    return future or spaces.filter(old_cut).first()


def fill_batch(filling: Filling) -> bool:
    """Embed the next passages of a pass over the missing ones and store their vectors; at the end of a pass, finish or begin another.
    False when this worker has no more to do with the space."""
    space = filling.space
    rows = missing(space).filter(**({"pk__gt": space.cursor} if space.cursor else {}))
    texts = [
        (pk, passages.text_to_embed(filling.pack_name, title, heading, text))
        for pk, title, heading, text in rows.values_list("pk", "revision__title", "heading", "text")[:BATCH]
    ]
    if not texts:
        return _end_pass(filling)
    started = time.monotonic()
    try:
        vectors, refusal = _embed_apart(embeddings.embedder_in(space), texts, filling)
    except EmbeddingError as error:
        return _fail(filling, error.detail)
    return _store_batch(filling, texts[-1][0], vectors, refusal, time.monotonic() - started)


def _embed_apart(
    embedder: Embedder, texts: Sequence[tuple[UUID, str]], filling: Filling
) -> tuple[list[tuple[UUID, Vector]], str]:
    """Vectors of the texts that have one, and why others have none: a batch that is refused is halved until the refused text is
    alone. Raises ``EmbeddingError`` for what is not the fault of a text."""
    try:
        vectors = embeddings.embed_all(embedder, [text for _, text in texts], filling.beat)
    except EmbeddingError as error:
        if not error.about_text:
            raise
        if len(texts) == 1:
            return [], f"“{texts[0][1].splitlines()[0]}”: {error.detail}"
        middle = len(texts) // 2
        (left, one), (right, other) = (
            _embed_apart(embedder, half, filling) for half in (texts[:middle], texts[middle:])
        )
        return [*left, *right], one or other
    _check_width(filling.space, vectors)
    return list(zip((pk for pk, _ in texts), vectors, strict=True)), ""


def _check_width(space: EmbeddingSpace, vectors: Sequence[Vector]) -> None:
    if vectors and len(vectors[0]) != space.dimension:
        detail = f"{space.model} gave vectors of {len(vectors[0])} dimensions; the space has {space.dimension}"
        raise EmbeddingError(detail, permanent=True, about_text=False)


@transaction.atomic
def _store_batch(
    filling: Filling, last: UUID, vectors: Sequence[tuple[UUID, Vector]], refusal: str, seconds: float
) -> bool:
    pack, space = _locked(filling)
    if space is None:
        return False
    store_vectors(space, vectors)
    space.cursor = last
    space.lease_expires_at = timezone.now() + LEASE
    space.rate = len(vectors) / seconds if seconds > 0 else 0.0
    if vectors:
        space.attempt = 0
    if refusal:
        space.error, filling.failed = refusal, True
    _tell_progress(pack, space)
    space.save(update_fields=["cursor", "lease_expires_at", "rate", "attempt", "error", *_TOLD])
    filling.space = space
    return True


def _tell_progress(pack: KnowledgePack, space: EmbeddingSpace) -> None:
    """At most once a second: counting costs as much as there are passages."""
    now = timezone.now()
    if space.told_at and now - space.told_at < TELL:
        return
    count(space)
    space.told_at = now
    space.save(update_fields=[*_TOLD, "rate", "error"])
    event_log.append(pack, ("pack.space_progress", pack_embedding(pack)))


def count(space: EmbeddingSpace) -> None:
    space.done = PassageVector.objects.filter(space_id=space.pk).count()
    space.total = space.done + missing(space).count()


@transaction.atomic
def _end_pass(filling: Filling) -> bool:
    """No passage is left behind the cursor: flip when none is missing at all, pause when some were refused, else pass again."""
    pack, space = _locked(filling)
    if space is None:
        return False
    filling.space = space
    if not missing(space).exists():
        if not _waits_for_index(pack, space):
            _flip(pack, space)
        return False
    if filling.failed:
        return _pause(pack, space)
    space.cursor = None
    space.save(update_fields=["cursor"])
    return True


def _waits_for_index(pack: KnowledgePack, space: EmbeddingSpace) -> bool:
    """A complete space that is large has its index built before searches use it, or they would all be exact until then. It is not
    waited for without end: exact searches are slow, not wrong."""
    if pack.passage_count < settings.ANN_BUILD_FROM or space.ann_state == AnnState.READY:
        return False
    if space.attempt >= INDEX_WAITS:
        return False
    space.attempt += 1
    space.available_at = timezone.now() + INDEX_WAIT
    space.lease_expires_at = space.cursor = None
    space.save(update_fields=["attempt", "available_at", "lease_expires_at", "cursor"])
    nudge.send_task_on_commit("knowledge.tasks.build_ann", [space.pk], "index")
    return True


def index_built(space_id: int) -> None:
    """Go on with a space that has waited for its index."""
    waiting = EmbeddingSpace.objects.filter(pk=space_id, state=SpaceState.FUTURE)
    pack_id = waiting.values_list("pack", flat=True).first()
    if pack_id is not None and waiting.update(available_at=None):
        nudge.send_task("knowledge.tasks.fill_space", [str(pack_id)], "index")


def _flip(pack: KnowledgePack, future: EmbeddingSpace) -> None:
    """Future becomes present, and what was present past: from this commit on, every search uses the new vectors."""
    present = pack.spaces.filter(state=SpaceState.PRESENT).first()
    if present is not None:
        future.chunker_version = present.chunker_version  # passages may have been cut anew meanwhile
        retire(present)
    count(future)
    future.state, future.error, future.cursor = SpaceState.PRESENT, "", None
    future.lease_expires_at = future.available_at = None
    future.attempt = 0
    future.save()
    pack.index_epoch += 1
    pack.save(update_fields=["index_epoch"])
    event_log.append(pack, ("pack.space_changed", pack_embedding(pack)))
    _retry_refused(pack)


def _retry_refused(pack: KnowledgePack) -> None:
    """What the old model refused the new one may take."""
    from knowledge.indexing import queue_again

    queue_again(pack, Entry.objects.filter(pack=pack, index_status=IndexStatus.FAILED, deleted_at=None))


@transaction.atomic
def _fail(filling: Filling, detail: str) -> bool:
    """The model does not answer, or not as it should."""
    pack, space = _locked(filling)
    if space is not None:
        space.error = detail
        _pause(pack, space)
    return False


def _pause(pack: KnowledgePack, space: EmbeddingSpace) -> bool:
    """Try again later, from the start of a pass: the sweeper wakes a worker then."""
    space.attempt = min(space.attempt + 1, 30)
    space.available_at = timezone.now() + min(BACKOFF * 2 ** (space.attempt - 1), BACKOFF_MAX)
    space.lease_expires_at = space.cursor = None
    space.rate = 0.0
    if space.state == SpaceState.FUTURE:
        count(space)
    space.save()
    event_log.append(pack, ("pack.space_failed", pack_embedding(pack)))
    return False


def release(filling: Filling) -> None:
    """Give the lease back before it runs out. Whoever still works with it is fenced off."""
    mine = EmbeddingSpace.objects.filter(pk=filling.space.pk, lease_token=filling.token)
    mine.update(lease_expires_at=None, lease_token=F("lease_token") + 1)


def give_back(filling: Filling) -> None:
    """The worker is to end in the middle of a batch: another one begins the batch anew at once."""
    release(filling)
    nudge.send_task("knowledge.tasks.fill_space", [str(filling.space.pack_id)], "index")


def _locked(filling: Filling) -> tuple[KnowledgePack, EmbeddingSpace | None]:
    """The pack and the space, locked; no space when it is not this worker's any more."""
    pack = locked_pack(filling.space.pack_id)
    mine = pack.spaces.filter(pk=filling.space.pk, lease_token=filling.token, state=filling.space.state)
    space = mine.select_related("embedding").select_for_update(no_key=True, of=("self",)).first()
    if space is None:
        log.info("space %s of pack %s is not ours any more", filling.space.pk, pack.pk)
    return pack, space


_TOLD: Final = ("done", "total", "told_at")

_STORE: Final = """
    INSERT INTO knowledge_passagevector (space_id, passage_id, pack_id, embedding, live)
    SELECT %(space)s, p.id, p.pack_id, new.embedding::halfvec, coalesce(l.live, true)
    FROM unnest(%(passages)s::uuid[], %(vectors)s::text[]) AS new(passage, embedding)
    JOIN knowledge_passage p ON p.id = new.passage
    LEFT JOIN knowledge_passagelexical l ON l.passage_id = p.id
    ON CONFLICT (space_id, passage_id) DO UPDATE SET embedding = excluded.embedding
"""


def store_vectors(space: EmbeddingSpace, vectors: Sequence[tuple[UUID, Vector]]) -> None:
    """Vectors of passages that still exist; the pack's row is locked."""
    if not vectors:
        return
    values: dict[str, Any] = {
        "space": space.pk,
        "passages": [pk for pk, _ in vectors],
        "vectors": [HalfVector(vector).to_text() for _, vector in vectors],
    }
    with connection.cursor() as cursor:
        cursor.execute(_STORE, values)


# --- A newer way of cutting -----------------------------------------------------------------------------------------


def recut_batch(filling: Filling) -> bool:
    """Cut the next entries anew and swap their passages, words and vectors, each batch in one transaction: a search finds either
    the old passages of an entry or the new ones. What snapshots show stays cut as it was."""
    space = filling.space
    entries = list(_old_cut(space.pack_id).select_related("revision")[:RECUT_ENTRIES])
    if not entries:
        return _end_recut(filling)
    chunks = {entry.pk: passages.cut(entry.revision.content) for entry in entries}
    texts = [
        passages.text_to_embed(
            filling.pack_name, entry.title, chunk.heading, entry.revision.content[chunk.start : chunk.end]
        )
        for entry in entries
        for chunk in chunks[entry.pk]
    ]
    try:
        vectors = embeddings.embed_all(embeddings.embedder_in(space), texts, filling.beat)
        _check_width(space, vectors)
    except EmbeddingError as error:
        return _fail(filling, error.detail)
    return _swap(filling, [passages.Piece(entry, entry.revision, chunks[entry.pk]) for entry in entries], vectors)


def _old_cut(pack_id: UUID) -> QuerySet[Entry]:
    """Entries whose words are cut in an old way and in no new one."""
    cut = Passage.objects.filter(revision=OuterRef("revision"))
    new = cut.filter(chunker_version=chunking.CHUNKER_VERSION)
    return Entry.objects.filter(~Exists(new), Exists(cut), pack=pack_id, deleted_at=None).order_by("pk")


@transaction.atomic
def _swap(filling: Filling, pieces: Sequence[passages.Piece], vectors: Sequence[Vector]) -> bool:
    pack, space = _locked(filling)
    if space is None:
        return False
    still = _old_cut(pack.pk).filter(pk__in=[piece.entry.pk for piece in pieces]).select_for_update(no_key=True)
    revision_of = dict(still.values_list("pk", "revision"))
    rest = iter(vectors)
    vectors_of = {piece.entry.pk: [next(rest) for _ in piece.chunks] for piece in pieces}
    kept = [piece for piece in pieces if revision_of.get(piece.entry.pk) == piece.revision.pk]
    passages.discard(pack, [piece.entry for piece in kept])
    passages.store(pack, kept)
    for piece in kept:
        fresh = Passage.objects.filter(revision=piece.revision, chunker_version=chunking.CHUNKER_VERSION)
        ids = fresh.order_by("ordinal").values_list("pk", flat=True)
        store_vectors(space, list(zip(ids, vectors_of[piece.entry.pk], strict=True)))
    passages.settle(pack)
    pack.save(update_fields=list(passages.STATISTICS))
    EmbeddingSpace.objects.filter(pk=space.pk).update(lease_expires_at=timezone.now() + LEASE, error="", attempt=0)
    return True


@transaction.atomic
def _end_recut(filling: Filling) -> bool:
    pack, space = _locked(filling)
    if space is None or _old_cut(pack.pk).exists():
        return space is not None
    space.chunker_version, space.lease_expires_at, space.error = chunking.CHUNKER_VERSION, None, ""
    space.save(update_fields=["chunker_version", "lease_expires_at", "error"])
    event_log.append(pack, ("pack.space_changed", pack_embedding(pack)))
    return False


# --- The past -------------------------------------------------------------------------------------------------------


def drop(space_id: int) -> None:
    """Remove a past space with its vectors and its partial HNSW index. Not in a transaction."""
    if not EmbeddingSpace.objects.filter(pk=space_id, state=SpaceState.PAST).exists():
        return
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {ann.index_name(space_id)}")
    while _drop_vectors(space_id):
        pass


@transaction.atomic
def _drop_vectors(space_id: int) -> bool:
    """Some of the vectors, and at last the space itself; whether there is more. In bites, for the pack's writers wait."""
    space = EmbeddingSpace.objects.filter(pk=space_id, state=SpaceState.PAST).first()
    if space is None:
        return False
    locked_pack(space.pack_id)
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM knowledge_passagevector WHERE (space_id, passage_id) IN"
            " (SELECT space_id, passage_id FROM knowledge_passagevector WHERE space_id = %s LIMIT %s)",
            [space_id, DROP_BATCH],
        )
        if cursor.rowcount == DROP_BATCH:
            return True
    EmbeddingSpace.objects.filter(pk=space_id, state=SpaceState.PAST).delete()
    return False
