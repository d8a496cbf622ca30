"""What is shown of the final hits: their rows, and the passage with the query's words marked."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connection

from knowledge.legs import Leg
from knowledge.query import quoted, tsquery

# ts_headline does not escape. Marks from the private use area survive our escaping and are replaced afterwards.
_OPEN, _CLOSE = "\ue000", "\ue001"
_OPTIONS: Final = (
    f'StartSel="{_OPEN}", StopSel="{_CLOSE}", MaxFragments=2, MaxWords=40, MinWords=15, FragmentDelimiter=" … "'
)
_COLUMNS: Final = (
    "passage_id", "pack_id", "entry_id", "title", "tags", "metadata", "source_url", "external_id", "revision_id",
    "revision", "ordinal", "start", "end", "heading", "text", "highlight",
)  # fmt: skip
# Between two statements an entry may have been revised, disabled or deleted: it is looked at again, except for snapshots.
_DETAILS: Final = """
    SELECT p.id, p.pack_id, e.id, r.title, e.tags, e.metadata, e.source_url, e.external_id, r.id, r.number,
           p.ordinal, p.start, p."end", p.heading, p.text,
           ts_headline(coalesce('quorum_' || nullif(e.language, ''), k.config)::regconfig, translate(p.text, %(marks)s, ''),
                       k.query::tsquery, %(options)s)
    FROM knowledge_passage p
    JOIN knowledge_entry e ON e.id = p.entry_id
    JOIN knowledge_entryrevision r ON r.id = p.revision_id
    JOIN unnest(%(packs)s::uuid[], %(configs)s::text[], %(queries)s::text[], %(frozen)s::bool[]) AS k(pack, config, query, frozen)
      ON k.pack = p.pack_id
    WHERE p.id = ANY(%(passages)s::uuid[])
      AND (k.frozen OR (e.enabled AND e.deleted_at IS NULL AND e.revision_id = p.revision_id))
"""
_MATCHED: Final = """
    SELECT l.passage_id, array_agg(t.lexeme ORDER BY t.lexeme)
    FROM knowledge_passagelexical l
    JOIN unnest(%(packs)s::uuid[], %(queries)s::text[]) AS k(pack, query) ON k.pack = l.pack_id
    CROSS JOIN unnest(l.tsv) AS t
    WHERE l.passage_id = ANY(%(passages)s::uuid[]) AND t.lexeme = ANY(tsvector_to_array(k.query::tsvector))
    GROUP BY l.passage_id
"""


def details(legs: Sequence[Leg], passages: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Everything that a hit shows, by passage. Highlighting is the dearest part of a search, so it is done for these alone."""
    if not passages:
        return {}
    values: dict[str, Any] = {
        "passages": list(passages),
        "packs": [leg.pack.pk for leg in legs],
        "configs": [leg.pack.text_config for leg in legs],
        "queries": [tsquery([term.lexeme for term in leg.terms]) for leg in legs],
        "frozen": [leg.snapshot is not None for leg in legs],
        "options": _OPTIONS,
        "marks": _OPEN + _CLOSE,
    }
    with connection.cursor() as cursor:
        cursor.execute(_DETAILS, values)
        rows = [dict(zip(_COLUMNS, row, strict=True)) for row in cursor.fetchall()]
    # Django hands JSON over as text, for its own field to decode.
    return {
        row["passage_id"]: {**row, "metadata": json.loads(row["metadata"]), "highlight": to_html(row["highlight"])}
        for row in rows
    }


def texts(passages: Sequence[UUID]) -> dict[UUID, str]:
    """Title and text of passages, as a reranker reads them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p.id, r.title || E'\\n' || p.text FROM knowledge_passage p"
            " JOIN knowledge_entryrevision r ON r.id = p.revision_id WHERE p.id = ANY(%s::uuid[])",
            [list(passages)],
        )
        return dict(cursor.fetchall())


def matched_terms(legs: Sequence[Leg], passages: Sequence[UUID]) -> dict[UUID, list[str]]:
    """The query's lexemes that stand in each passage."""
    values: dict[str, Any] = {
        "passages": list(passages),
        "packs": [leg.pack.pk for leg in legs],
        "queries": [" ".join(quoted(term.lexeme) for term in leg.terms) for leg in legs],
    }
    with connection.cursor() as cursor:
        cursor.execute(_MATCHED, values)
        return dict(cursor.fetchall())


def to_html(marked: str) -> str:
    """Escaped text whose marked words stand in ``<mark>``."""
    return html.escape(marked).replace(_OPEN, "<mark>").replace(_CLOSE, "</mark>")
