"""The two state machines of the knowledge app: one table of transitions each.

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


PACK_TRANSITIONS: Final[Transitions] = {
    PackStatus.DRAFT: frozenset({PackStatus.ACTIVE, PackStatus.DELETED}),
    PackStatus.ACTIVE: frozenset({PackStatus.ARCHIVED, PackStatus.DELETED}),
    PackStatus.ARCHIVED: frozenset({PackStatus.ACTIVE, PackStatus.DELETED}),
    PackStatus.DELETED: frozenset(),
}

INDEX_TRANSITIONS: Final[Transitions] = {
    IndexStatus.PENDING: frozenset({IndexStatus.INDEXING}),
    # Back to pending: revised meanwhile, the lease ran out, or the embedding service asked us to come again later.
    IndexStatus.INDEXING: frozenset({IndexStatus.READY, IndexStatus.FAILED, IndexStatus.PENDING}),
    IndexStatus.READY: frozenset({IndexStatus.PENDING}),
    IndexStatus.FAILED: frozenset({IndexStatus.PENDING}),
}


def check_pack_transition(old: str, new: str) -> None:
    """Raise ``IllegalState`` unless a pack may go from ``old`` to ``new``; staying where it is is no transition."""
    if old != new and new not in PACK_TRANSITIONS[old]:
        raise IllegalState(f"a pack that is {old} cannot become {new}", code="illegal_transition")
