"""The semantic half of the index: claim entries, embed their passages, store the vectors.

A claim sets a lease and bumps ``lease_token``; only its holder may finish (fencing). A worker that dies leaves an entry whose lease
runs out, and the next claim of the pack takes it. Models are called outside transactions.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone

from knowledge import chunking, embeddings, news, spaces
from knowledge.embeddings import Embedder, Vector
from knowledge.errors import EmbeddingError
from knowledge.models import EmbeddingModel, EmbeddingSpace, Entry, KnowledgePack, Passage, SpaceState
from knowledge.passages import text_to_embed
from knowledge.services import locked_pack
from knowledge.shapes import entry_progress, pack_counts
from knowledge.states import IndexStatus, PackStatus
from realtime import log as event_log
from realtime import nudge, stopping
from realtime.failpoints import failpoint

log = logging.getLogger(__name__)

# Large enough for texts of like length to find each other and for the work around a batch to be a few per cent of it.
BATCH_PASSAGES: Final = 512
BATCH_ENTRIES: Final = 512
LEASE: Final = timedelta(seconds=settings.INDEX_LEASE_S)
RENEW_S: Final = settings.INDEX_LEASE_S / 6  # how often leases are prolonged while a batch is embedded
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


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose vectors a worker brings."""

    model: str
    embedding: EmbeddingModel | None = None  # None: of the settings
    dimension: int = 0  # 0: whatever it is


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
    """Claim, embed and finish one batch of the pack; the number of entries that were claimed (0: nothing to do, or nothing that can
    be done before the pack's vectors have moved to another model)."""
    try:
        origin, embedder = _embedder(pack_id)
    except EmbeddingError as error:
        return _fail_batch(pack_id, error, only)
    if embedder is None:
        return 0
    claims = claim(pack_id, only)
    if claims:
        failpoint("knowledge.claim.committed")
        with stopping.held(partial(give_back, pack_id, claims)):
            stopping.check()
            finish(pack_id, origin, [_of_width(origin, outcome) for outcome in embed(embedder, claims)])
        failpoint("knowledge.finish.committed")
    return len(claims)


def _of_width(origin: Origin, outcome: Outcome) -> Outcome:
    """The outcome, or an error when the model has another dimension than when the pack's space was made."""
    got = len(outcome.vectors[0]) if outcome.vectors else origin.dimension
    if not origin.dimension or got == origin.dimension:
        return outcome
    detail = f"{origin.model} gives {got} dimensions; the pack's vectors have {origin.dimension} and must be made anew"
    return Outcome(outcome.claim, error=EmbeddingError(detail, permanent=True))


def _embedder(pack_id: UUID) -> tuple[Origin, Embedder | None]:
    """The embedder of the pack's present space, or of its choice when it has none yet. None when the settings have dropped the present
    space's model: the future space, which the sweeper sees to, takes the entries then."""
    present = spaces.present_space(pack_id)
    if present is None:
        chosen = EmbeddingModel.objects.filter(packs=pack_id).first()
        embedder = embeddings.embedder_for(chosen)
        return Origin(embedder.model, chosen), embedder
    gone = present.embedding is None and present.model not in embeddings.obtainable()
    origin = Origin(present.model, present.embedding, present.dimension)
    return origin, None if gone else embeddings.embedder_in(present)


def _fail_batch(pack_id: UUID, error: EmbeddingError, only: UUID | None) -> int:
    claims = claim(pack_id, only)
    finish(pack_id, Origin(""), [Outcome(claim, error=error) for claim in claims])
    return len(claims)


@transaction.atomic
def claim(pack_id: UUID, only: UUID | None = None) -> list[Claim]:
    """Lease about ``BATCH_PASSAGES`` passages' worth of entries, oldest first. Entries that have used up their attempts fail."""
    now = timezone.now()
    pack = locked_pack(pack_id)
    due = claimable(now).filter(pack=pack, **({"pk": only} if only else {})).order_by("pk")
    entries = list(due.select_for_update(no_key=True, of=("self",))[:BATCH_ENTRIES])
    exhausted = [entry for entry in entries if entry.attempt >= MAX_ATTEMPTS]
    _settle(exhausted, IndexStatus.FAILED, "the worker died each time it indexed this entry")
    chosen = _within_budget([entry for entry in entries if entry.attempt < MAX_ATTEMPTS])
    _lease(chosen, now)
    _record(pack, [*exhausted, *chosen])
    failpoint("knowledge.claim.leased")
    return _claims(pack, chosen)


def embed(embedder: Embedder, claims: Sequence[Claim]) -> list[Outcome]:
    """The vectors of all claims, or an error for each that has none.

    When the model refuses the batch for good, each entry is tried alone: one bad text must not fail its neighbours.
    """
    texts = [text for claim in claims for _, text in claim.passages]
    try:
        vectors = embeddings.embed_all(embedder, texts, _Heart(claims).beat)
    except EmbeddingError as error:
        if error.about_text and len(claims) > 1:
            return [outcome for claim in claims for outcome in embed(embedder, [claim])]
        return [Outcome(claim, error=error) for claim in claims]
    rest = iter(vectors)
    return [Outcome(claim, vectors=[next(rest) for _ in claim.passages]) for claim in claims]


class _Heart:
    """Renews the leases of claims every ``RENEW_S``."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        self._claims, self._renewed = claims, time.monotonic()

    def beat(self) -> None:
        """Raises ``Stopping`` when the worker is to end."""
        stopping.check()
        if time.monotonic() - self._renewed >= RENEW_S:
            renew(self._claims)
            self._renewed = time.monotonic()


@transaction.atomic
def renew(claims: Sequence[Claim]) -> None:
    """Prolong the leases that are still ours. The rows are locked in the order of their ids, as every writer of a pack does: an update
    that took them as it found them ran into a deadlock with one."""
    held = {(claim.entry_id, claim.token) for claim in claims}
    ids = [entry for entry, _ in held]
    entries = Entry.objects.select_for_update(no_key=True).filter(_INDEXING, pk__in=ids).order_by("pk")
    ours = [pair[0] for pair in entries.values_list("pk", "lease_token") if pair in held]
    Entry.objects.filter(pk__in=ours).update(lease_expires_at=timezone.now() + LEASE)


@transaction.atomic
def finish(pack_id: UUID, origin: Origin, outcomes: Iterable[Outcome]) -> int:
    """Store what became of claims. Entries that were revised, deleted or leased to another worker meanwhile are left alone, and wait
    again when the pack's searches have moved to another model meanwhile.

    The first ready entry makes a draft pack active. Returns the number of entries that were still ours.
    """
    pack = locked_pack(pack_id)
    by_id = {outcome.claim.entry_id: outcome for outcome in outcomes}
    entries = Entry.objects.select_for_update(no_key=True).filter(_INDEXING, pk__in=by_id, deleted_at=None)
    ours = [entry for entry in entries.order_by("pk") if entry.lease_token == by_id[entry.pk].claim.token]
    if len(ours) < len(by_id):
        log.info(
            "pack %s: %d of %d entries changed while they were indexed", pack_id, len(by_id) - len(ours), len(by_id)
        )
    if _store_vectors(pack, origin, [by_id[entry.pk] for entry in ours]):
        _conclude([(entry, by_id[entry.pk].error) for entry in ours])
    else:
        _wait_again(ours)
    pack.index_epoch += 1
    activated = pack.status == PackStatus.DRAFT and any(entry.index_status == IndexStatus.READY for entry in ours)
    if activated:
        pack.status = PackStatus.ACTIVE
    pack.save(update_fields=["index_epoch", "status"])
    _record(pack, ours)
    if activated:
        news.pack_changed(pack, "updated")
    failpoint("knowledge.finish.stored")
    return len(ours)


@transaction.atomic
def give_back(pack_id: UUID, claims: Sequence[Claim]) -> None:
    """The worker is to end before it has finished these: another one takes them at once. The attempt does not count, for nothing
    failed. Those that are not ours any more are left alone."""
    pack = locked_pack(pack_id)
    held = {(claim.entry_id, claim.token) for claim in claims}
    ids = [entry for entry, _ in held]
    entries = Entry.objects.select_for_update(no_key=True).filter(_INDEXING, pk__in=ids, deleted_at=None)
    ours = [entry for entry in entries.order_by("pk") if (entry.pk, entry.lease_token) in held]
    for entry in ours:
        entry.attempt = max(entry.attempt - 1, 0)
    Entry.objects.bulk_update(ours, ["attempt"])
    _settle(ours, IndexStatus.PENDING)
    _record(pack, ours)
    if ours:
        nudge.send_task_on_commit("knowledge.tasks.index_pack", [str(pack_id)], "index")


@transaction.atomic
def queue_again(pack: KnowledgePack, which: QuerySet[Entry]) -> None:
    """Index these entries of a locked pack once more, from the first attempt."""
    entries = list(which.select_for_update(no_key=True, of=("self",)).order_by("pk"))
    _wait_again(entries)
    _record(pack, entries)


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


def _lease(entries: Sequence[Entry], now: datetime) -> None:
    for entry in entries:
        entry.index_status, entry.lease_expires_at = IndexStatus.INDEXING, now + LEASE
        entry.lease_token += 1
        entry.attempt += 1
    Entry.objects.filter(pk__in=[entry.pk for entry in entries]).update(
        index_status=IndexStatus.INDEXING,
        lease_expires_at=now + LEASE,
        lease_token=F("lease_token") + 1,
        attempt=F("attempt") + 1,
    )


def _claims(pack: KnowledgePack, entries: Sequence[Entry]) -> list[Claim]:
    """The entries with what they lack in the present space: nothing, when a migration was quicker."""
    present = pack.spaces.filter(state=SpaceState.PRESENT).first()
    found = spaces.lacking(Passage.objects.filter(entry__in=entries, revision=F("entry__revision")), present)
    texts: dict[UUID, list[tuple[UUID, str]]] = defaultdict(list)
    rows = found.order_by("entry", "ordinal").values_list("entry", "pk", "entry__title", "heading", "text")
    for entry_id, pk, title, heading, text in rows:
        texts[entry_id].append((pk, text_to_embed(pack.name, title, heading, text)))
    return [Claim(entry.pk, entry.lease_token, tuple(texts[entry.pk])) for entry in entries]


def _conclude(ours: Sequence[tuple[Entry, EmbeddingError | None]]) -> None:
    """Ready, or failed, or pending again after a pause that doubles with each attempt."""
    _settle([entry for entry, error in ours if error is None], IndexStatus.READY)
    for entry, error in ours:
        if error is None:
            continue
        if error.permanent or entry.attempt >= MAX_ATTEMPTS:
            _settle([entry], IndexStatus.FAILED, error.detail)
        else:
            later = timezone.now() + BACKOFF * 2 ** (entry.attempt - 1)
            _settle([entry], IndexStatus.PENDING, error.detail, available_at=later)


def _wait_again(entries: Sequence[Entry]) -> None:
    for entry in entries:
        entry.attempt = 0
    Entry.objects.filter(pk__in=[entry.pk for entry in entries]).update(attempt=0)
    _settle(entries, IndexStatus.PENDING)


def _settle(
    entries: Sequence[Entry], status: IndexStatus, error: str = "", available_at: datetime | None = None
) -> None:
    """End the leases. Not ``updated_at``: that is the time of the last edit, and indexing is none."""
    if not entries:
        return
    for entry in entries:
        entry.index_status, entry.index_error = status, error
        entry.lease_expires_at, entry.available_at = None, available_at
    Entry.objects.filter(pk__in=[entry.pk for entry in entries]).update(
        index_status=status, index_error=error, lease_expires_at=None, available_at=available_at
    )


def _store_vectors(pack: KnowledgePack, origin: Origin, outcomes: Sequence[Outcome]) -> bool:
    """False when these are not vectors of the space that the pack's searches use now."""
    vectors = [
        (passage_id, vector)
        for outcome in outcomes
        if outcome.error is None
        for (passage_id, _), vector in zip(outcome.claim.passages, outcome.vectors, strict=True)
    ]
    if not vectors:
        return True
    space = _present_space(pack, origin, len(vectors[0][1]))
    if space is None:
        return False
    spaces.store_vectors(space, vectors)
    return True


def _present_space(pack: KnowledgePack, origin: Origin, dimension: int) -> EmbeddingSpace | None:
    """The space that the pack's searches use, made when this is its first batch; None when it is, or is to be, of another model."""
    present = pack.spaces.filter(state=SpaceState.PRESENT).first()
    embedding = origin.embedding.pk if origin.embedding else None
    if present is None and embedding != pack.embedding_id:
        return None
    if present is None:
        return EmbeddingSpace.objects.create(
            pack=pack,
            embedding_id=embedding,
            model=origin.model,
            dimension=dimension,
            chunker_version=chunking.CHUNKER_VERSION,
        )
    same = (present.embedding_id, present.model, present.dimension) == (embedding, origin.model, dimension)
    return present if same else None


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
