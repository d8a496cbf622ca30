"""Knowledge in the admin, for staff who curate all day. Every write goes through ``services``, so an edit here is indexed and
recorded like any other.

One file for each subject: packs and their tool pages, entries with their revisions, golden questions, embedding models and spaces,
and what is only read (imports, snapshots, searches).
"""

from knowledge.admin.entries import EntryAdmin, EntryRevisionAdmin
from knowledge.admin.history import EvaluationAdmin, ImportAdmin, SearchLogAdmin, SnapshotAdmin
from knowledge.admin.index import EmbeddingModelAdmin, EmbeddingSpaceAdmin
from knowledge.admin.packs import KnowledgePackAdmin
from knowledge.admin.questions import GoldenQuestionAdmin

__all__ = [
    "EmbeddingModelAdmin", "EmbeddingSpaceAdmin", "EntryAdmin", "EntryRevisionAdmin", "EvaluationAdmin", "GoldenQuestionAdmin",
    "ImportAdmin", "KnowledgePackAdmin", "SearchLogAdmin", "SnapshotAdmin",
]  # fmt: skip
