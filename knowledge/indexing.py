"""The semantic half of the index: claim entries, embed their passages, store the vectors.

A claim sets a lease and bumps ``lease_token``; only its holder may finish (fencing). A worker that dies leaves an entry whose lease
runs out, and the next claim of the pack takes it. Models are called outside transactions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone
from pgvector import HalfVector

from knowledge import chunking
from knowledge.embeddings import Embedder, Vector, get_embedder
from knowledge.errors import EmbeddingError
from knowledge.models import EmbeddingSpace, Entry, KnowledgePack, Passage, PassageVector, SpaceState
from knowledge.passages import text_to_embed
from knowledge.services import locked_pack
from knowledge.shapes import entry_progress, pack_counts
from knowledge.states import IndexStatus, PackStatus
from realtime import log as event_log

log = logging.getLogger(__name__)

BATCH_PASSAGES: Final = 64
BATCH_ENTRIES: Final = 64
LEASE: Final = timedelta(seconds=30)  # renewed after every 64 passages, which take seconds
MAX_ATTEMPTS: Final = 5
BACKOFF: Final = timedelta(seconds=2)  # doubled with each attempt

_PENDING = Q(index_status=IndexStatus.PENDING)
_INDEXING = Q(index_status=IndexStatus.INDEXING)


@dataclass(frozen=True, slots=True)
class Claim:
    """An entry that this worker may index while its lease lasts."""

    entry_id: UUID
    token: int
    passages: tuple[tuple[UUID, str], ...]  # id and the text to embed


@dataclass(frozen=True, slots=True)
class Outcome:
    claim: Claim
    vectors: Sequence[Vector] = ()
    error: EmbeddingError | None = None


def claimable(now: datetime) -> QuerySet[Entry]:
    """Entries that wait to be indexed, or whose worker let its lease run out."""
    due = _PENDING & (Q(available_at=None) | Q(available_at__lte=now))
    lost = _INDEXING & Q(lease_expires_at__lt=now)
    return Entry.objects.filter(due | lost, deleted_at=None).exclude(pack__status=PackStatus.DELETED)


def packs_with_work(now: datetime) -> list[UUID]:
    """Packs with claimable entries on which nobody is at work. The sweeper wakes a worker for each."""
    busy = Entry.objects.filter(_INDEXING, deleted_at=None, lease_expires_at__gte=now).values("pack")
    return list(claimable(now).exclude(pack__in=busy).values_list("pack", flat=True).distinct())


def index_once(pack_id: UUID, only: UUID | None = None) -> int:
    """Claim, embed and finish one batch of the pack; the number of entries that were claimed (0: nothing to do)."""
    claims = claim(pack_id, only)
    if not claims:
        return 0
    try:
        embedder = get_embedder()
    except EmbeddingError as error:
        finish(pack_id, "", [Outcome(claim, error=error) for claim in claims])
    else:
        finish(pack_id, embedder.model, embed(embedder, claims))
    return len(claims)


@transaction.atomic
def claim(pack_id: UUID, only: UUID | None = None) -> list[Claim]:
    """Lease up to 64 passages' worth of entries, oldest first. Entries that have used up their attempts fail instead."""
    now = timezone.now()
    pack = locked_pack(pack_id)
    due = claimable(now).filter(pack=pack, **({"pk": only} if only else {})).order_by("pk")
    entries = list(due.select_for_update(no_key=True, of=("self",))[:BATCH_ENTRIES])
    exhausted = [entry for entry in entries if entry.attempt >= MAX_ATTEMPTS]
    for entry in exhausted:
        _settle(entry, IndexStatus.FAILED, "the worker died each time it indexed this entry")
    chosen = _within_budget([entry for entry in entries if entry.attempt < MAX_ATTEMPTS])
    for entry in chosen:
        _lease(entry, now)
    _record(pack, [*exhausted, *chosen])
    return [_claim(pack, entry) for entry in chosen]


def embed(embedder: Embedder, claims: Sequence[Claim]) -> list[Outcome]:
    """The vectors of all claims, or an error for each that has none.

    When the model refuses the batch for good, each entry is tried alone: one bad text must not fail its neighbours.
    """
    texts = [text for claim in claims for _, text in claim.passages]
    vectors: list[Vector] = []
    try:
        while len(vectors) < len(texts):
            vectors += embedder.embed_passages(texts[len(vectors) : len(vectors) + BATCH_PASSAGES])
            renew(claims)
        _check_widths(vectors)
    except EmbeddingError as error:
        if error.permanent and len(claims) > 1:
            return [outcome for claim in claims for outcome in embed(embedder, [claim])]
        return [Outcome(claim, error=error) for claim in claims]
    rest = iter(vectors)
    return [Outcome(claim, vectors=[next(rest) for _ in claim.passages]) for claim in claims]


def _check_widths(vectors: Sequence[Vector]) -> None:
    if len(widths := {len(vector) for vector in vectors}) > 1:
        raise EmbeddingError(f"the model gave vectors of different dimensions: {sorted(widths)}", permanent=True)


def renew(claims: Sequence[Claim]) -> None:
    """Prolong the leases that are still ours."""
    ours = Q.create([Q(pk=claim.entry_id, lease_token=claim.token) for claim in claims], connector=Q.OR)
    Entry.objects.filter(ours, _INDEXING).update(lease_expires_at=timezone.now() + LEASE)


@transaction.atomic
def finish(pack_id: UUID, model: str, outcomes: Iterable[Outcome]) -> int:
    """Store what became of claims. Entries that were revised, deleted or leased to another worker meanwhile are left alone.

    The first ready entry makes a draft pack active. Returns the number of entries that were still ours.
    """
    pack = locked_pack(pack_id)
    by_id = {outcome.claim.entry_id: outcome for outcome in outcomes}
    entries = Entry.objects.select_for_update(no_key=True).filter(_INDEXING, pk__in=by_id, deleted_at=None)
    ours = [entry for entry in entries.order_by("pk") if entry.lease_token == by_id[entry.pk].claim.token]
    _store_vectors(pack, model, [by_id[entry.pk] for entry in ours])
    for entry in ours:
        _conclude(entry, by_id[entry.pk].error)
    if len(ours) < len(by_id):
        log.info(
            "pack %s: %d of %d entries changed while they were indexed", pack_id, len(by_id) - len(ours), len(by_id)
        )
    pack.index_epoch += 1
    activated = pack.status == PackStatus.DRAFT and any(entry.index_status == IndexStatus.READY for entry in ours)
    if activated:
        pack.status = PackStatus.ACTIVE
    pack.save(update_fields=["index_epoch", "status"])
    _record(pack, ours)
    return len(ours)


def _within_budget(entries: Sequence[Entry]) -> list[Entry]:
    """The first entries whose passages fill a batch; always at least one."""
    counted = Passage.objects.filter(entry__in=entries).values_list("entry").annotate(number=Count("pk"))
    number_of: dict[UUID, int] = dict(counted)
    chosen: list[Entry] = []
    room = BATCH_PASSAGES
    for entry in entries:
        if room <= 0:
            break
        chosen.append(entry)
        room -= number_of.get(entry.pk, 0)
    return chosen


def _lease(entry: Entry, now: datetime) -> None:
    entry.index_status = IndexStatus.INDEXING
    entry.lease_expires_at = now + LEASE
    entry.lease_token += 1
    entry.attempt += 1
    entry.save(update_fields=_PROGRESS)


def _claim(pack: KnowledgePack, entry: Entry) -> Claim:
    found = Passage.objects.filter(entry=entry, revision=entry.revision_id).order_by("ordinal")
    texts = tuple((p.pk, text_to_embed(pack.name, entry.title, p.heading, p.text)) for p in found)
    return Claim(entry.pk, entry.lease_token, texts)


def _conclude(entry: Entry, error: EmbeddingError | None) -> None:
    """Ready, or failed, or pending again after a pause that doubles with each attempt."""
    if error is None:
        _settle(entry, IndexStatus.READY)
    elif error.permanent or entry.attempt >= MAX_ATTEMPTS:
        _settle(entry, IndexStatus.FAILED, error.detail)
    else:
        entry.available_at = timezone.now() + BACKOFF * 2 ** (entry.attempt - 1)
        _settle(entry, IndexStatus.PENDING, error.detail)


def _settle(entry: Entry, status: IndexStatus, error: str = "") -> None:
    entry.index_status, entry.index_error = status, error
    entry.lease_expires_at = None
    entry.save(update_fields=_PROGRESS)


def _store_vectors(pack: KnowledgePack, model: str, outcomes: Sequence[Outcome]) -> None:
    good = [outcome for outcome in outcomes if outcome.error is None and outcome.claim.passages]
    if not good:
        return
    space = _present_space(pack, model, len(good[0].vectors[0]))
    PassageVector.objects.bulk_create(
        (
            PassageVector(space=space, passage_id=passage_id, pack=pack, embedding=HalfVector(vector))
            for outcome in good
            for (passage_id, _), vector in zip(outcome.claim.passages, outcome.vectors, strict=True)
        ),
        update_conflicts=True,
        unique_fields=["space", "passage"],
        update_fields=["embedding"],
    )


def _present_space(pack: KnowledgePack, model: str, dimension: int) -> EmbeddingSpace:
    """The space that the pack's search uses, made or switched when the embedding model is another than before.

    A switch drops the old vectors and queues their entries again: a ranking that mixes two models is worse than one that is
    lexical for a while.
    """
    wanted: dict[str, Any] = {"model": model, "dimension": dimension, "chunker_version": chunking.CHUNKER_VERSION}
    present = pack.spaces.filter(state=SpaceState.PRESENT).first()
    if present and all(getattr(present, name) == value for name, value in wanted.items()):
        return present
    if present:
        EmbeddingSpace.objects.filter(pk=present.pk).update(state=SpaceState.PAST)
        PassageVector.objects.filter(space=present).delete()
        _queue_again(pack)
    space, _ = EmbeddingSpace.objects.update_or_create(pack=pack, **wanted, defaults={"state": SpaceState.PRESENT})
    return space


def _queue_again(pack: KnowledgePack) -> None:
    ready = Entry.objects.filter(pack=pack, index_status=IndexStatus.READY, deleted_at=None)
    entries = list(ready.select_for_update(no_key=True).order_by("pk"))
    for entry in entries:
        entry.attempt = 0
        _settle(entry, IndexStatus.PENDING)
    _record(pack, entries)


def _record(pack: KnowledgePack, entries: Sequence[Entry]) -> None:
    event_log.append(
        pack,
        *(
            (_KIND[IndexStatus(entry.index_status)], {"entry": entry_progress(entry), "pack": pack_counts(pack)})
            for entry in entries
        ),
    )


_KIND = {
    IndexStatus.PENDING: "entry.queued",
    IndexStatus.INDEXING: "entry.indexing",
    IndexStatus.READY: "entry.indexed",
    IndexStatus.FAILED: "entry.failed",
}
# Not updated_at: that is the time of the last edit, and indexing is none.
_PROGRESS = ("index_status", "index_error", "lease_token", "lease_expires_at", "attempt", "available_at")
