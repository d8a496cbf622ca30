"""The lexical half of the index: words, document lengths, BM25 weights and document frequencies, all set in SQL.

BM25 (Robertson & Zaragoza 2009, section 3.3) as an inner product of sparse vectors: a passage's vector holds
``tf · (k1 + 1) / (tf + k1 · (1 − b + b · dl / avgdl))`` for each lexeme, the query's holds ``qtf · idf``. The key of a lexeme is its
hash folded to 29 bits; lexemes that collide add up.

Every function must run in a transaction that holds the pack's row lock: two writers that met in ``term_stats`` in different order
would deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connection

from knowledge.models import LEXEME_DIMENSIONS, KnowledgePack

K1: Final = 1.2
B: Final = 0.75
DRIFT: Final = 0.05  # of the average length, at which stored weights are computed again
KEY: Final = f"((hashtext(lexeme) & {LEXEME_DIMENSIONS - 1}) + 1)"

_WEIGHTS: Final = f"""
    (SELECT ('{{' || coalesce(string_agg(w.key || ':' || w.weight, ','), '') || '}}/{LEXEME_DIMENSIONS}')::sparsevec
     FROM (SELECT {KEY} AS key,
                  sum(cardinality(positions) * {K1 + 1}
                      / (cardinality(positions) + {K1} * ({1 - B} + {B} * d.dl / d.avgdl)))::real AS weight
           FROM unnest(d.tsv) WHERE positions IS NOT NULL GROUP BY 1) AS w)
"""  # noqa: S608  # constants of this module

_ADD: Final = f"""
    WITH words AS MATERIALIZED (
        SELECT p.id, to_tsvector(%(config)s::regconfig, r.title || E'\\n' || p.heading || E'\\n' || p.text) AS tsv
        FROM knowledge_passage p JOIN knowledge_entryrevision r ON r.id = p.revision_id
        WHERE p.pack_id = %(pack)s AND (%(entries)s::uuid[] IS NULL OR p.entry_id = ANY(%(entries)s::uuid[]))
          AND NOT EXISTS (SELECT 1 FROM knowledge_passagelexical known WHERE known.passage_id = p.id)
          AND EXISTS (
              SELECT 1 FROM knowledge_entry e
              WHERE e.id = p.entry_id AND e.revision_id = p.revision_id AND e.deleted_at IS NULL)
    ), d AS MATERIALIZED (
        SELECT id, tsv, dl, coalesce(nullif(%(avgdl)s::float8, 0), greatest(avg(dl) OVER (), 1)) AS avgdl
        FROM words, LATERAL (SELECT coalesce(sum(cardinality(positions)), 0)::int AS dl FROM unnest(tsv)) AS counted
    ), stats AS (
        INSERT INTO knowledge_termstats AS t (pack_id, lexeme, df)
        SELECT %(pack)s, lexeme, count(*) FROM d, unnest(d.tsv) GROUP BY lexeme
        ON CONFLICT (pack_id, lexeme) DO UPDATE SET df = t.df + excluded.df
    ), added AS (
        INSERT INTO knowledge_passagelexical (passage_id, pack_id, live, tsv, dl, bm)
        SELECT id, %(pack)s, true, tsv || array_to_tsvector(ARRAY[%(mark)s]), dl, {_WEIGHTS} FROM d
    )
    SELECT count(*), coalesce(sum(dl), 0), coalesce(max(avgdl), 0) FROM d
"""  # noqa: S608

_ADD_RETIRED: Final = f"""
    WITH words AS MATERIALIZED (
        SELECT p.id, to_tsvector(%(config)s::regconfig, r.title || E'\\n' || p.heading || E'\\n' || p.text) AS tsv
        FROM knowledge_passage p JOIN knowledge_entryrevision r ON r.id = p.revision_id
        WHERE p.pack_id = %(pack)s
          AND NOT EXISTS (SELECT 1 FROM knowledge_passagelexical known WHERE known.passage_id = p.id)
    ), d AS (
        SELECT id, tsv, dl, coalesce(nullif(%(avgdl)s::float8, 0), greatest(dl, 1)) AS avgdl
        FROM words, LATERAL (SELECT coalesce(sum(cardinality(positions)), 0)::int AS dl FROM unnest(tsv)) AS counted
    )
    INSERT INTO knowledge_passagelexical (passage_id, pack_id, live, tsv, dl, bm)
    SELECT id, %(pack)s, false, tsv || array_to_tsvector(ARRAY[%(retired)s]), dl, {_WEIGHTS} FROM d
"""  # noqa: S608

_REMOVE: Final = """
    WITH gone AS MATERIALIZED (
        SELECT l.passage_id, l.tsv, l.dl,
               EXISTS (SELECT 1 FROM knowledge_snapshotentry pin WHERE pin.revision_id = p.revision_id) AS pinned
        FROM knowledge_passagelexical l JOIN knowledge_passage p ON p.id = l.passage_id
        WHERE p.pack_id = %(pack)s AND p.entry_id = ANY(%(entries)s::uuid[]) AND l.live
    ), deleted AS (
        DELETE FROM knowledge_passagelexical l USING gone WHERE l.passage_id = gone.passage_id AND NOT gone.pinned
    ), retired AS (
        UPDATE knowledge_passagelexical l
        SET live = false, tsv = ts_delete(l.tsv, %(mark)s) || array_to_tsvector(ARRAY[%(retired)s])
        FROM gone WHERE l.passage_id = gone.passage_id AND gone.pinned
    ), terms AS MATERIALIZED (
        SELECT lexeme, count(*) AS df FROM gone, unnest(gone.tsv) WHERE positions IS NOT NULL GROUP BY lexeme
    ), dropped AS (
        DELETE FROM knowledge_termstats t USING terms
        WHERE t.pack_id = %(pack)s AND t.lexeme = terms.lexeme AND t.df <= terms.df
    ), lowered AS (
        UPDATE knowledge_termstats t SET df = t.df - terms.df FROM terms
        WHERE t.pack_id = %(pack)s AND t.lexeme = terms.lexeme AND t.df > terms.df
    )
    SELECT count(*), coalesce(sum(dl), 0) FROM gone
"""

_REWEIGH: Final = f"""
    UPDATE knowledge_passagelexical AS target SET bm = {_WEIGHTS}
    FROM (SELECT passage_id, tsv, dl, %(avgdl)s::float8 AS avgdl FROM knowledge_passagelexical WHERE pack_id = %(pack)s) AS d
    WHERE target.passage_id = d.passage_id
"""  # noqa: S608


def pack_mark(pack_id: UUID) -> str:
    """The lexeme that stands in every tsvector of a pack, so that GIN finds words and pack in one go. No parser yields it."""
    return f"#{pack_id.hex}"


def retired_mark(pack_id: UUID) -> str:
    """The lexeme that stands in its place where only snapshots still show a passage (``knowledge.retention``)."""
    return f"@{pack_id.hex}"


def add(pack: KnowledgePack, entry_ids: Sequence[UUID] | None) -> None:
    """Index the passages of these entries' current revisions (None: of the whole pack) that have no words yet. Updates ``pack``'s
    statistics in memory; the caller saves them."""
    count, length, avgdl = _one(
        _ADD,
        config=pack.text_config,
        pack=pack.pk,
        entries=None if entry_ids is None else list(entry_ids),
        avgdl=pack.weighted_avgdl,
        mark=pack_mark(pack.pk),
    )
    pack.passage_count += count
    pack.passage_length += int(length)
    pack.weighted_avgdl = pack.weighted_avgdl or float(avgdl)


def remove(pack: KnowledgePack, entry_ids: Sequence[UUID]) -> None:
    """Take the words of these entries' passages out again; the passages themselves must still be there. Words of revisions that
    a snapshot pins are kept under the other mark, and counted no more."""
    count, length = _one(
        _REMOVE,
        pack=pack.pk,
        entries=list(entry_ids),
        mark=pack_mark(pack.pk),
        retired=retired_mark(pack.pk),
    )
    pack.passage_count -= count
    pack.passage_length -= int(length)


def add_retired(pack: KnowledgePack) -> None:
    """Words of the pack's passages that have none yet, as of retired ones: not live, and in no statistics."""
    values: dict[str, Any] = {
        "config": pack.text_config,
        "pack": pack.pk,
        "avgdl": pack.weighted_avgdl,
        "retired": retired_mark(pack.pk),
    }
    with connection.cursor() as cursor:
        cursor.execute(_ADD_RETIRED, values)


def drifted(pack: KnowledgePack) -> bool:
    """Whether the stored weights were made for an average length that is more than 5 % off by now."""
    if not pack.passage_count or not pack.weighted_avgdl:
        return False
    return abs(pack.passage_length / pack.passage_count / pack.weighted_avgdl - 1) > DRIFT


def reweigh(pack: KnowledgePack) -> None:
    """Compute all BM25 weights of the pack for today's average length."""
    pack.weighted_avgdl = max(pack.passage_length / pack.passage_count, 1.0) if pack.passage_count else 0.0
    with connection.cursor() as cursor:
        cursor.execute(_REWEIGH, {"pack": pack.pk, "avgdl": pack.weighted_avgdl})


def rebuild(pack: KnowledgePack) -> None:
    """Index the whole pack anew, as after a change of language."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM knowledge_passagelexical WHERE pack_id = %s", [pack.pk])
        cursor.execute("DELETE FROM knowledge_termstats WHERE pack_id = %s", [pack.pk])
    pack.passage_count, pack.passage_length, pack.weighted_avgdl = 0, 0, 0.0
    add(pack, None)


def _one(statement: str, **values: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone()
