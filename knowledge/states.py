"""The state machines of the knowledge app: one table of transitions each.

The services check them (``realtime.errors.IllegalState``) and ``knowledge.models`` hands the very same tables to database
triggers, so that no path around the services can take a forbidden step.
"""

from __future__ import annotations

from typing import Final

from django.db import models

from realtime.errors import IllegalState
from realtime.states import Transitions


class PackStatus(models.TextChoices):
    DRAFT = "draft"  # no entry is ready yet; its owner can already search what has been committed
    ACTIVE = "active"
    ARCHIVED = "archived"  # read-only, still searchable
    DELETED = "deleted"  # in the trash


class IndexStatus(models.TextChoices):
    """How far an entry's *vectors* are. Its words are searchable from the moment it is committed."""

    PENDING = "pending"
    INDEXING = "indexing"
    READY = "ready"
    FAILED = "failed"


class ImportStatus(models.TextChoices):
    QUEUED = "queued"
    READING = "reading"  # files are opened and become planned items
    PLANNED = "planned"  # a dry run waits to be committed or cancelled
    WRITING = "writing"  # items become entries
    COMPLETED = "completed"  # some items may have failed; they say why
    FAILED = "failed"  # nothing could be read
    CANCELLED = "cancelled"  # what had been written stays


class EvaluationStatus(models.TextChoices):
    """Of an evaluation that a worker is to carry out. One that is finished is an ``Evaluation`` of the same id instead."""

    QUEUED = "queued"
    RUNNING = "running"
    FAILED = "failed"


class ItemStatus(models.TextChoices):
    PLANNED = "planned"
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"  # cancelled before its turn
    FAILED = "failed"


PACK_TRANSITIONS: Final[Transitions] = {
    PackStatus.DRAFT: frozenset({PackStatus.ACTIVE, PackStatus.DELETED}),
    PackStatus.ACTIVE: frozenset({PackStatus.ARCHIVED, PackStatus.DELETED}),
    PackStatus.ARCHIVED: frozenset({PackStatus.ACTIVE, PackStatus.DELETED}),
    PackStatus.DELETED: frozenset(
        {PackStatus.DRAFT, PackStatus.ACTIVE, PackStatus.ARCHIVED}
    ),  # a restore, to what it was
}

INDEX_TRANSITIONS: Final[Transitions] = {
    IndexStatus.PENDING: frozenset({IndexStatus.INDEXING}),
    # Back to pending: revised meanwhile, the lease ran out, or the embedding service asked us to come again later.
    IndexStatus.INDEXING: frozenset({IndexStatus.READY, IndexStatus.FAILED, IndexStatus.PENDING}),
    IndexStatus.READY: frozenset({IndexStatus.PENDING}),
    IndexStatus.FAILED: frozenset({IndexStatus.PENDING}),
}


_ENDS: Final = frozenset({ImportStatus.FAILED, ImportStatus.CANCELLED})
IMPORT_TRANSITIONS: Final[Transitions] = {
    ImportStatus.QUEUED: frozenset({ImportStatus.READING, *_ENDS}),
    ImportStatus.READING: frozenset({ImportStatus.QUEUED, ImportStatus.PLANNED, ImportStatus.WRITING, *_ENDS}),
    ImportStatus.PLANNED: frozenset({ImportStatus.WRITING, *_ENDS}),
    ImportStatus.WRITING: frozenset({ImportStatus.COMPLETED, *_ENDS}),
    ImportStatus.COMPLETED: frozenset(),
    ImportStatus.FAILED: frozenset(),
    ImportStatus.CANCELLED: frozenset(),
}


EVALUATION_TRANSITIONS: Final[Transitions] = {
    EvaluationStatus.QUEUED: frozenset({EvaluationStatus.RUNNING, EvaluationStatus.FAILED}),
    EvaluationStatus.RUNNING: frozenset({EvaluationStatus.FAILED}),
    EvaluationStatus.FAILED: frozenset(),
}


def check_pack_transition(old: str, new: str) -> None:
    """Raise ``IllegalState`` unless a pack may go from ``old`` to ``new``; staying where it is is no transition."""
    if old != new and new not in PACK_TRANSITIONS[old]:
        raise IllegalState(f"a pack that is {old} cannot become {new}", code="illegal_transition")
