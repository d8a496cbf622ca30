"""How often entries are found and cited. Counters beside the entries, not part of a pack's state: no event, no lock on the pack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from knowledge.models import EntryRevision

# Rows are made and locked in one order, so that two writers never wait for each other; entries that have gone are left out.
_COUNT: Final = """
    INSERT INTO knowledge_entryuse AS used (entry_id, retrieved, retrieved_at, cited, cited_at)
    SELECT e.id, %(retrieved)s * n.times, CASE WHEN %(retrieved)s > 0 THEN now() END,
           %(cited)s * n.times, CASE WHEN %(cited)s > 0 THEN now() END
    FROM unnest(%(entries)s::uuid[], %(times)s::int[]) AS n(entry, times)
    JOIN knowledge_entry e ON e.id = n.entry
    ORDER BY e.id
    ON CONFLICT (entry_id) DO UPDATE SET
        retrieved = used.retrieved + excluded.retrieved,
        retrieved_at = coalesce(excluded.retrieved_at, used.retrieved_at),
        cited = used.cited + excluded.cited,
        cited_at = coalesce(excluded.cited_at, used.cited_at)
"""


def count_retrieved(times: Mapping[UUID, int]) -> None:
    """Count entries as found by searches, each as often as it was."""
    _count(times, retrieved=1, cited=0)


def note_citations(revision_ids: Iterable[UUID | str]) -> None:
    """Count the entries of these revisions as cited once, after the caller's transaction has been committed: a counter neither
    holds up nor undoes what it counts. A crash in between loses the count."""
    wanted = {UUID(str(one)) for one in revision_ids}
    if wanted:
        transaction.on_commit(lambda: _count_cited(wanted), robust=True)


def _count_cited(revision_ids: Iterable[UUID]) -> None:
    entries = EntryRevision.objects.filter(pk__in=revision_ids, entry__isnull=False).values_list("entry", flat=True)
    _count({entry: 1 for entry in entries if entry is not None}, retrieved=0, cited=1)


def _count(times: Mapping[UUID, int], *, retrieved: int, cited: int) -> None:
    if not times:
        return
    values: dict[str, Any] = {
        "entries": list(times),
        "times": list(times.values()),
        "retrieved": retrieved,
        "cited": cited,
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, values)
