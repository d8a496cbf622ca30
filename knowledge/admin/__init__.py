"""Knowledge in the admin, for staff who curate all day. Every write goes through ``services``, so an edit here is indexed and
recorded like any other.

One file for each subject. ``packs`` registers packs and names their tool pages (``pages`` says what those have in common; ``dashboard``,
``hits``, ``quality``, ``sharing``, ``embedding`` and ``manage`` are the pages). ``entries`` has the editor, with ``revisions`` and, for
many at once, ``bulk``. ``imports``, ``snapshots``, ``questions``, ``index`` (embedding models and spaces) and ``history`` (what is only
read) are lists of their own.
"""

from knowledge.admin.entries import EntryAdmin
from knowledge.admin.history import EvaluationAdmin, SearchLogAdmin
from knowledge.admin.imports import ImportAdmin
from knowledge.admin.index import EmbeddingModelAdmin, EmbeddingSpaceAdmin
from knowledge.admin.packs import KnowledgePackAdmin
from knowledge.admin.questions import GoldenQuestionAdmin
from knowledge.admin.revisions import EntryRevisionAdmin
from knowledge.admin.snapshots import SnapshotAdmin

__all__ = [
    "EmbeddingModelAdmin", "EmbeddingSpaceAdmin", "EntryAdmin", "EntryRevisionAdmin", "EvaluationAdmin", "GoldenQuestionAdmin",
    "ImportAdmin", "KnowledgePackAdmin", "SearchLogAdmin", "SnapshotAdmin",
]  # fmt: skip
