"""How much room texts take: as they lie in the database, compressed where PostgreSQL does that, and with all their revisions, for
these are kept. ``pg_column_size`` does not read what it measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connection

_SIZE: Final = "SELECT coalesce(sum(pg_column_size(r.content)), 0)::bigint FROM knowledge_entryrevision r"
_OF_ENTRY: Final = "JOIN knowledge_entry e ON e.id = r.entry_id"
_OF_PACK: Final = f"{_OF_ENTRY} JOIN knowledge_knowledgepack p ON p.id = e.pack_id"


def of_person(user_id: UUID) -> int:
    return _one(f"{_SIZE} {_OF_PACK} WHERE p.owner_id = %s", user_id)


def of_pack(pack_id: UUID) -> int:
    return _one(f"{_SIZE} {_OF_ENTRY} WHERE e.pack_id = %s", pack_id)


def of_entries(ids: Sequence[UUID]) -> int:
    return _one(f"{_SIZE} WHERE r.entry_id = ANY(%s)", list(ids))


def of_revisions(ids: Sequence[UUID]) -> int:
    return _one(f"{_SIZE} WHERE r.id = ANY(%s)", list(ids))


def _one(statement: str, value: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, [value])
        return int(cursor.fetchone()[0])
