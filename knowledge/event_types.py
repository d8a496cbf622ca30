"""Every event of a knowledge pack and its snapshot, as types. ``knowledge.shapes`` writes what they describe."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from knowledge.models import AnnState, Role, Visibility
from knowledge.ranking import Mode
from knowledge.states import EvaluationStatus, ImportStatus, IndexStatus, ItemStatus, PackStatus
from realtime.schemas import Actor, EventType, Shape, StreamSchema, Time, absent

# --- What the snapshot shows ------------------------------------------------------------------------------------------


class PackCounts(Shape):
    """What a change of entries can move in the pack's header."""

    status: PackStatus
    entry_count: int
    updated_at: Time


class Pack(PackCounts):
    """The pack, without what depends on who looks (`role`)."""

    id: UUID
    name: str
    description: str
    visibility: Visibility
    tags: list[str]
    language: str
    gate_publishing: float | None
    version: int
    created_at: Time


class EntryProgress(Shape):
    """What indexing moves in an entry's header."""

    id: UUID
    status: IndexStatus
    error: str | None


class EntryHeader(EntryProgress):
    """The entry without its content."""

    pack: UUID
    title: str
    tags: list[str]
    metadata: dict[str, Any]
    source_url: str | None
    external_id: str | None
    enabled: bool
    revision: int
    revision_id: UUID
    content_hash: str
    language: str | None
    ordinal: int
    version: int
    reviewed_at: Time | None
    review_by: date | None
    created_at: Time
    updated_at: Time


class PackSnapshot(Shape):
    """The whole state of a pack as of ``last_seq``. Entries in no order: their place is their ``ordinal``."""

    pack: Pack
    entries: list[EntryHeader]
    last_seq: int


# --- What else events tell of -----------------------------------------------------------------------------------------


class EntryId(Shape):
    """An entry that is not in the pack any more."""

    id: UUID


class EntryElsewhere(EntryId):
    """An entry that went to another pack."""

    pack: UUID


class EntryPlace(EntryId):
    """Where an entry stands in its pack."""

    ordinal: int


class Evaluation(Shape):
    """An evaluation without its rows."""

    id: UUID
    pack: UUID
    mode: Mode
    status: Literal["finished"]
    index_epoch: int
    questions: int
    ndcg_10: float
    recall_10: float
    mrr: float
    created_at: Time


class EvaluationWaiting(Shape):
    """An evaluation that is not there yet, or never will be."""

    id: UUID
    pack: UUID
    mode: Mode
    status: EvaluationStatus
    error: str | None
    created_at: Time


class VectorSpace(Shape):
    """Vectors of one model. ``name`` is that of a registered model, null for the settings' own."""

    id: int
    name: str | None
    model: str
    dimension: int
    error: str | None


class VectorSpaceFilling(VectorSpace):
    """Vectors on their way. ``rate``: passages in a second."""

    done: int
    total: int
    rate: float
    started_at: Time


class Share(Shape):
    """A person's role in the pack, by id alone."""

    id: UUID
    user: UUID
    role: Role


class Version(Shape):
    """A published version of the pack."""

    id: UUID
    pack: UUID
    label: str
    note: str
    entry_count: int
    passage_count: int
    content_hash: str
    created_at: Time


class IndexState(Shape):
    """The approximate index of a space of vectors; ``distrust``: searched exactly again."""

    space: int
    state: AnnState
    recall: float = absent("where a sample decided")


class IndexBuild(Shape):
    """How the build of that index gets on, in passages."""

    space: int
    state: AnnState
    phase: str
    done: int
    total: int


class ImportPlan(Shape):
    """What committing an import would do, or would have done."""

    created: int
    updated: int
    unchanged: int


class ImportHeader(Shape):
    """An import and how many of its items are where."""

    id: UUID
    pack: UUID
    status: ImportStatus
    dry_run: bool
    on_duplicate: Literal["fail", "skip", "update"]
    filename: str
    media_type: str
    size: int
    urls: list[str]
    options: dict[str, Any]
    total: int
    counts: dict[ItemStatus, int]
    plan: ImportPlan
    error: str | None
    created_at: Time
    finished_at: Time | None


# --- Events -----------------------------------------------------------------------------------------------------------


class PackEvent(Shape):
    actor: Actor | None


class PackWhole(PackEvent):
    pack: Pack


class EntryWhole(PackEvent):
    entry: EntryHeader
    pack: PackCounts


class EntryMoved(PackEvent):
    entry: EntryHeader | EntryElsewhere = Field(
        description="the header in the pack that it came to; in the pack that it left, its id and the other pack's"
    )
    pack: PackCounts


class EntryGone(PackEvent):
    entry: EntryId
    pack: PackCounts


class EntryMoves(PackEvent):
    entry: EntryProgress
    pack: PackCounts


class EntriesReordered(PackEvent):
    entries: list[EntryPlace]
    pack: PackCounts


class EntriesPurged(PackEvent):
    entries: list[UUID]
    pack: PackCounts


class Evaluated(PackEvent):
    evaluation: Evaluation


class EvaluationMoved(PackEvent):
    evaluation: EvaluationWaiting


class QuestionsChanged(PackEvent):
    golden_questions: int = Field(description="how many there are")


class EmbeddingMoved(PackEvent):
    pack: UUID
    model: str | None = Field(description="that the pack has chosen; null: the settings'")
    present: VectorSpace | None = Field(description="is searched")
    future: VectorSpaceFilling | None = Field(description="is being filled")


class PackShared(PackEvent):
    share: Share


class PackTransferred(PackEvent):
    from_: UUID = Field(alias="from", description="a user")
    to: UUID = Field(description="a user")


class VersionNews(PackEvent):
    snapshot: Version


class IndexChanged(PackEvent):
    index: IndexState


class IndexProgress(PackEvent):
    index: IndexBuild


class ImportMoved(PackEvent):
    import_: ImportHeader = Field(alias="import")


KNOWLEDGE_PACKS = StreamSchema(
    name="knowledge-packs",
    path="/ws/knowledge-packs/{id}",
    title="Knowledge packs",
    snapshot=PackSnapshot,
    events=(
        EventType("pack.created", PackWhole, "the pack was made"),
        EventType("pack.updated", PackWhole, "a person changed it"),
        EventType("pack.deleted", PackWhole, "it went to the trash"),
        EventType("pack.restored", PackWhole, "it is back from the trash"),
        EventType("pack.shared", PackShared, "a person was given a role, or another one"),
        EventType("pack.unshared", PackShared, "a person lost their role"),
        EventType("pack.transferred", PackTransferred, "the pack has another owner"),
        EventType("entry.created", EntryWhole, "by a person or an import"),
        EventType("entry.revised", EntryWhole, "its text was changed"),
        EventType("entry.updated", EntryWhole, "anything else of it was changed"),
        EventType("entry.restored", EntryWhole, "it is back from the trash"),
        EventType("entry.deleted", EntryGone, "it went to the trash"),
        EventType("entry.moved", EntryMoved, "it went to another pack; told in both"),
        EventType(
            "entry.reordered", EntriesReordered, "places in the pack changed; several events for more than 500 entries"
        ),
        EventType("entry.purged", EntriesPurged, "removed from the trash for good"),
        EventType("entry.queued", EntryMoves, "by the indexer: it waits again"),
        EventType("entry.indexing", EntryMoves, "by the indexer: its vectors are being made"),
        EventType("entry.indexed", EntryMoves, "by the indexer: its vectors are there"),
        EventType("entry.failed", EntryMoves, "by the indexer: it has no vectors, and `error` says why"),
        EventType("import.created", ImportMoved, "an import was asked for"),
        EventType("import.progress", ImportMoved, "it gets on; at most twice a second"),
        EventType("import.planned", ImportMoved, "a dry run waits to be committed or cancelled"),
        EventType("import.completed", ImportMoved, "its items are entries; some may have failed"),
        EventType("import.failed", ImportMoved, "nothing could be read"),
        EventType("import.cancelled", ImportMoved, "what had been written stays"),
        EventType("snapshot.created", VersionNews, "a version was published"),
        EventType("snapshot.deleted", VersionNews, "a version was forgotten"),
        EventType("pack.questions_changed", QuestionsChanged, "golden questions were added, changed or removed"),
        EventType("pack.evaluated", Evaluated, "the golden questions were asked"),
        EventType("pack.evaluation_queued", EvaluationMoved, "many golden questions wait for a worker"),
        EventType("pack.evaluation_failed", EvaluationMoved, "a worker could not ask them"),
        EventType("pack.space_started", EmbeddingMoved, "the pack's vectors are on their way to another model"),
        EventType("pack.space_progress", EmbeddingMoved, "they get on"),
        EventType("pack.space_failed", EmbeddingMoved, "they do not get on, and `error` says why"),
        EventType(
            "pack.space_changed", EmbeddingMoved, "another model is searched, or chosen, or a move was cancelled"
        ),
        EventType("pack.index_changed", IndexChanged, "the approximate index of the pack's vectors has another state"),
        EventType("pack.index_progress", IndexProgress, "its build gets on"),
    ),
)
