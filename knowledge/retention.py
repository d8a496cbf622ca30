"""Passages that only snapshots still show.

A snapshot pins revisions. When an entry goes on (revised, deleted), the passages of a pinned revision are *retired*: their rows
stay in all three tables with ``live`` false, the mark ``#pack`` in their words becomes ``@pack``, and the pack's statistics count
them no more. A search of today's pack cannot find them by chance; a search in a snapshot takes either mark and asks
``SnapshotEntry`` for the revision. Callers hold the pack's row lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connection

from knowledge.models import KnowledgePack

PINNED: Final = "EXISTS (SELECT 1 FROM knowledge_snapshotentry pin WHERE pin.revision_id = p.revision_id)"
# Of a revision that the entry no longer has, or of an entry in the trash.
_OLD: Final = """NOT EXISTS (
    SELECT 1 FROM knowledge_entry e WHERE e.id = p.entry_id AND e.revision_id = p.revision_id AND e.deleted_at IS NULL)"""
_USELESS: Final = f"p.pack_id = %(pack)s AND NOT {PINNED} AND {_OLD}"


def retire(entry_ids: Sequence[UUID]) -> None:
    """Take the entries' passages away, whose words ``words.remove`` has taken out; those of pinned revisions are kept, unseen."""
    values = {"entries": list(entry_ids)}
    _run(
        f"""DELETE FROM knowledge_passagevector v USING knowledge_passage p
            WHERE p.id = v.passage_id AND p.entry_id = ANY(%(entries)s) AND NOT {PINNED}""",  # noqa: S608  # constants of ours
        values,
    )
    # Of a revision that was retired before and that nothing pins any more, the words are still there.
    _run(
        f"""DELETE FROM knowledge_passagelexical l USING knowledge_passage p
            WHERE p.id = l.passage_id AND p.entry_id = ANY(%(entries)s) AND NOT {PINNED}""",  # noqa: S608  # constants of ours; values are bound
        values,
    )
    _run(
        """UPDATE knowledge_passagevector v SET live = false FROM knowledge_passage p
           WHERE p.id = v.passage_id AND p.entry_id = ANY(%(entries)s) AND v.live""",
        values,
    )
    _run(f"DELETE FROM knowledge_passage p WHERE p.entry_id = ANY(%(entries)s) AND NOT {PINNED}", values)  # noqa: S608  # constants of ours; values are bound


def revive(revision_ids: Sequence[UUID], chunker_version: int) -> set[UUID]:
    """Make retired passages the entry's own again; the revisions that have any. Their words are left to ``words.add``."""
    found = _run(
        "SELECT DISTINCT revision_id FROM knowledge_passage WHERE revision_id = ANY(%(revisions)s)"
        " AND chunker_version = %(chunker)s",
        {"revisions": list(revision_ids), "chunker": chunker_version},
    )
    known = {row[0] for row in found}
    if known:
        values = {"revisions": list(known), "chunker": chunker_version}
        _run(
            """DELETE FROM knowledge_passagelexical l USING knowledge_passage p
               WHERE p.id = l.passage_id AND p.revision_id = ANY(%(revisions)s) AND p.chunker_version = %(chunker)s
                 AND NOT l.live""",
            values,
        )
        _run(
            """UPDATE knowledge_passagevector v SET live = true FROM knowledge_passage p
               WHERE p.id = v.passage_id AND p.revision_id = ANY(%(revisions)s) AND p.chunker_version = %(chunker)s
                 AND NOT v.live""",
            values,
        )
    return known


def drop_useless(pack: KnowledgePack) -> None:
    """Delete the passages of old revisions that no snapshot pins any more."""
    values = {"pack": pack.pk}
    for table in ("passagevector", "passagelexical"):
        _run(
            f"DELETE FROM knowledge_{table} r USING knowledge_passage p WHERE p.id = r.passage_id AND {_USELESS}",  # noqa: S608  # constants of ours; values are bound
            values,
        )
    _run(f"DELETE FROM knowledge_passage p WHERE {_USELESS}", values)  # noqa: S608  # constants of ours; values are bound


def count_terms(snapshot_ids: Sequence[UUID]) -> None:
    """Document frequencies of the snapshots, from the words that their revisions' passages have now."""
    values = {"snapshots": list(snapshot_ids)}
    _run("DELETE FROM knowledge_snapshotterm WHERE snapshot_id = ANY(%(snapshots)s)", values)
    _run(
        """INSERT INTO knowledge_snapshotterm (snapshot_id, lexeme, df)
           SELECT s.snapshot_id, t.lexeme, count(*)
           FROM knowledge_snapshotentry s
           JOIN knowledge_passage p ON p.revision_id = s.revision_id
           JOIN knowledge_passagelexical l ON l.passage_id = p.id, unnest(l.tsv) AS t
           WHERE s.snapshot_id = ANY(%(snapshots)s) AND t.positions IS NOT NULL
           GROUP BY s.snapshot_id, t.lexeme""",
        values,
    )


def reindex(pack: KnowledgePack) -> None:
    """After the words of the whole pack were made anew (``words.rebuild``): the statistics of its snapshots, so that a snapshot is
    asked in the language that its words are in."""
    count_terms(list(pack.snapshots.values_list("pk", flat=True)))


def _run(statement: str, values: dict[str, Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []
