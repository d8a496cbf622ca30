"""Packs of curated text, their immutable revisions, and everything that is known about them."""

from knowledge.models.entries import Entry, EntryRevision
from knowledge.models.imports import Import, ImportItem
from knowledge.models.index import (
    LEXEME_DIMENSIONS,
    AnnState,
    EmbeddingModel,
    EmbeddingSpace,
    EntryLexical,
    Passage,
    PassageLexical,
    PassageVector,
    Provider,
    SpaceState,
    TermStats,
)
from knowledge.models.packs import (
    TAG_MAX,
    TITLE_MAX,
    KnowledgePack,
    Language,
    PackEvent,
    PackShare,
    Role,
    Visibility,
)
from knowledge.models.quality import EntryUse, Evaluation, EvaluationJob, GoldenQuestion, SearchLog
from knowledge.models.snapshots import Snapshot, SnapshotEntry, SnapshotTerm
from knowledge.states import EvaluationStatus, ImportStatus, IndexStatus, ItemStatus, PackStatus

__all__ = [
    "LEXEME_DIMENSIONS", "TAG_MAX", "TITLE_MAX", "AnnState", "EmbeddingModel", "EmbeddingSpace", "Entry", "EntryLexical", "EntryRevision",
    "EntryUse", "Evaluation", "EvaluationJob", "EvaluationStatus", "GoldenQuestion", "Import", "ImportItem", "ImportStatus", "IndexStatus",
    "ItemStatus",
    "KnowledgePack", "Language", "PackEvent", "PackShare", "PackStatus", "Passage", "PassageLexical", "PassageVector",
    "Provider", "Role", "SearchLog", "Snapshot", "SnapshotEntry", "SnapshotTerm", "SpaceState", "TermStats", "Visibility",
]  # fmt: skip
