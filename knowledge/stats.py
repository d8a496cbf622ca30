"""A pack in figures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.db import connection
from django.utils import timezone

from knowledge.models import KnowledgePack, SearchLog
from knowledge.states import IndexStatus

DAYS: Final = 30
TAGS_SHOWN: Final = 50

_TEXT: Final = """
    SELECT count(*), count(*) FILTER (WHERE NOT e.enabled), coalesce(sum(length(r.content)), 0),
           coalesce(sum(octet_length(r.content)), 0)
    FROM knowledge_entry e JOIN knowledge_entryrevision r ON r.id = e.revision_id
    WHERE e.pack_id = %(pack)s AND e.deleted_at IS NULL
"""
_STATUSES: Final = """
    SELECT index_status, count(*) FROM knowledge_entry WHERE pack_id = %(pack)s AND deleted_at IS NULL GROUP BY 1
"""
_TAGS: Final = f"""
    SELECT tag, count(*) FROM knowledge_entry, unnest(tags) AS tag
    WHERE pack_id = %(pack)s AND deleted_at IS NULL GROUP BY tag ORDER BY 2 DESC, 1 LIMIT {TAGS_SHOWN}
"""  # noqa: S608  # a constant
_LANGUAGES: Final = """
    SELECT coalesce(nullif(e.language, ''), p.language), count(*)
    FROM knowledge_entry e JOIN knowledge_knowledgepack p ON p.id = e.pack_id
    WHERE e.pack_id = %(pack)s AND e.deleted_at IS NULL GROUP BY 1 ORDER BY 2 DESC, 1
"""
_INDEX: Final = """
    SELECT (SELECT coalesce(sum(pg_column_size(tsv) + pg_column_size(bm)), 0)
            FROM knowledge_passagelexical WHERE pack_id = %(pack)s),
           (SELECT coalesce(sum(pg_column_size(embedding)), 0) FROM knowledge_passagevector WHERE pack_id = %(pack)s)
"""


def pack_stats(pack: KnowledgePack) -> dict[str, Any]:
    """What ``GET …/stats`` answers. ``words`` counts the lexemes that search counts, with their repetitions."""
    ((entries, disabled, chars, text_bytes),) = _rows(_TEXT, pack)
    ((word_bytes, vector_bytes),) = _rows(_INDEX, pack)
    return {
        "entries": {
            "total": entries,
            "disabled": disabled,
            "by_status": dict.fromkeys(IndexStatus.values, 0) | dict(_rows(_STATUSES, pack)),
        },
        "passages": pack.passage_count,
        "words": pack.passage_length,
        "characters": int(chars),
        "tags": [{"tag": tag, "entries": number} for tag, number in _rows(_TAGS, pack)],
        "languages": [{"language": name, "entries": number} for name, number in _rows(_LANGUAGES, pack)],
        "spaces": [
            {"model": space.model, "dimension": space.dimension, "state": space.state, "ann_state": space.ann_state}
            for space in pack.spaces.order_by("pk")
        ],
        "searches": _searches(pack),
        "snapshots": pack.snapshots.count(),
        "gate_publishing": pack.gate_publishing,
        "bytes": {"text": int(text_bytes), "words": int(word_bytes), "vectors": int(vector_bytes)},
    }


def _searches(pack: KnowledgePack) -> dict[str, Any]:
    recent = SearchLog.objects.filter(pack=pack, at__gte=timezone.now() - timedelta(days=DAYS))
    total = recent.count()
    empty = recent.filter(hits=0).count()
    return {"days": DAYS, "total": total, "zero_result_share": round(empty / total, 4) if total else None}


def _rows(statement: str, pack: KnowledgePack) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"pack": pack.pk})
        rows: list[Any] = cursor.fetchall()
        return rows
