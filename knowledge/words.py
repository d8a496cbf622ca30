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

BEFORE_ALL: Final = UUID(int=0)  # the cursor of a pass that has just begun

MAX_LEXEMES: Final = 16_000  # of an entry: the most that pgvector stores in a sparse vector

_WEIGHTS: Final = f"""
    (SELECT ('{{' || coalesce(string_agg(w.key || ':' || w.weight, ','), '') || '}}/{LEXEME_DIMENSIONS}')::sparsevec
     FROM (SELECT {KEY} AS key,
                  sum(cardinality(positions) * {K1 + 1}
                      / (cardinality(positions) + {K1} * ({1 - B} + {B} * d.dl / d.avgdl)))::real AS weight
           FROM unnest(d.tsv) WHERE positions IS NOT NULL GROUP BY 1) AS w)
"""  # noqa: S608  # constants of this module

# Whole entries as BM25 documents, of the passages in d(id, revision_id, ordinal, tsv, dl). What has no positions is a pack's mark.
# Each document is weighed by itself: the planner knows nothing of rows that this statement makes, and joined the words of 2,000
# documents with the documents by comparing every one with every other (27 s for 1,000 entries, 3 so, all else included).
_ENTRIES: Final = f"""
    docs AS (
        SELECT revision_id, (array_agg(id ORDER BY ordinal))[1] AS first, array_agg(tsv) AS vectors, sum(dl) AS dl,
               coalesce(nullif(%(entry_avgdl)s::float8, 0), greatest(avg(sum(dl)) OVER (), 1)) AS avgdl
        FROM d GROUP BY revision_id
    ), entries AS (
        INSERT INTO knowledge_entrylexical (passage_id, revision_id, pack_id, bm)
        SELECT docs.first, docs.revision_id, %(pack)s, ('{{' || coalesce(weighed.bm, '') || '}}/{LEXEME_DIMENSIONS}')::sparsevec
        FROM docs CROSS JOIN LATERAL (
            SELECT string_agg(key || ':' || (tf * {K1 + 1} / (tf + {K1} * ({1 - B} + {B} * docs.dl / docs.avgdl)))::real, ',') AS bm
            FROM (SELECT {KEY} AS key, sum(cardinality(positions)) AS tf
                  FROM unnest(docs.vectors) AS vector(tsv), unnest(vector.tsv) WHERE positions IS NOT NULL
                  GROUP BY 1 ORDER BY tf DESC, key LIMIT {MAX_LEXEMES}) AS frequent
        ) AS weighed
        ON CONFLICT (revision_id) DO UPDATE SET bm = excluded.bm
    )
"""  # noqa: S608  # constants of this module

# A passage of a revision that is no longer the entry's is there for snapshots alone: it gets the other mark and does not count.
_ADD: Final = f"""
    WITH words AS MATERIALIZED (
        SELECT p.id, p.revision_id, p.ordinal, e.revision_id = p.revision_id AND e.deleted_at IS NULL AS live,
               to_tsvector(coalesce('quorum_' || nullif(e.language, ''), %(config)s)::regconfig,
                           r.title || E'\n' || p.heading || E'\n' || p.text) AS tsv
        FROM knowledge_passage p
        JOIN knowledge_entryrevision r ON r.id = p.revision_id
        JOIN knowledge_entry e ON e.id = p.entry_id
        WHERE p.pack_id = %(pack)s AND (%(entries)s::uuid[] IS NULL OR p.entry_id = ANY(%(entries)s::uuid[]))
          AND NOT EXISTS (SELECT FROM knowledge_passagelexical l WHERE l.passage_id = p.id)
    ), d AS MATERIALIZED (
        SELECT id, revision_id, ordinal, live, tsv, dl,
               coalesce(nullif(%(avgdl)s::float8, 0), greatest(avg(dl) OVER (), 1)) AS avgdl
        FROM words, LATERAL (SELECT coalesce(sum(cardinality(positions)), 0)::int AS dl FROM unnest(tsv)) AS measured
    ), stats AS (
        INSERT INTO knowledge_termstats AS t (pack_id, lexeme, df)
        SELECT %(pack)s, lexeme, count(*) FROM d, unnest(d.tsv) WHERE live GROUP BY lexeme
        ON CONFLICT (pack_id, lexeme) DO UPDATE SET df = t.df + excluded.df
    ), added AS (
        INSERT INTO knowledge_passagelexical (passage_id, pack_id, live, tsv, dl, bm)
        SELECT id, %(pack)s, live, tsv || array_to_tsvector(ARRAY[CASE WHEN live THEN %(mark)s ELSE %(old)s END]), dl, {_WEIGHTS}
        FROM d
    ), {_ENTRIES}
    SELECT count(*) FILTER (WHERE live), coalesce(sum(dl) FILTER (WHERE live), 0), coalesce(max(avgdl), 0),
           coalesce((SELECT max(avgdl) FROM docs), 0)
    FROM d
"""  # noqa: S608  # constants of this module

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
    FROM (SELECT passage_id, tsv, dl, %(avgdl)s::float8 AS avgdl FROM knowledge_passagelexical
          WHERE pack_id = %(pack)s AND (%(passages)s::uuid[] IS NULL OR passage_id = ANY(%(passages)s::uuid[]))) AS d
    WHERE target.passage_id = d.passage_id
"""  # noqa: S608  # constants of this module

# Of the entries whose first passage is among the given ones, but with all their passages.
_REWEIGH_ENTRIES: Final = f"""
    WITH chosen AS (
        SELECT revision_id FROM knowledge_entrylexical
        WHERE pack_id = %(pack)s AND (%(passages)s::uuid[] IS NULL OR passage_id = ANY(%(passages)s::uuid[]))
    ), d AS MATERIALIZED (
        SELECT p.id, p.revision_id, p.ordinal, l.tsv, l.dl
        FROM chosen JOIN knowledge_passage p USING (revision_id) JOIN knowledge_passagelexical l ON l.passage_id = p.id
    ), {_ENTRIES}
    SELECT 1
"""  # noqa: S608  # constants of this module


def pack_mark(pack_id: UUID) -> str:
    """The lexeme that stands in every tsvector of a pack, so that GIN finds words and pack in one go. No parser yields it."""
    return f"#{pack_id.hex}"


def retired_mark(pack_id: UUID) -> str:
    """The lexeme that stands in its place where only snapshots still show a passage (``knowledge.retention``)."""
    return f"@{pack_id.hex}"


def add(pack: KnowledgePack, entry_ids: Sequence[UUID] | None) -> None:
    """Index the passages of these entries (None: of the whole pack) that are not indexed yet, each in its entry's language.
    Updates ``pack``'s statistics in memory; the caller saves them."""
    count, length, avgdl, entry_avgdl = _one(
        _ADD,
        config=pack.text_config,
        pack=pack.pk,
        entries=None if entry_ids is None else list(entry_ids),
        avgdl=pack.weighted_avgdl,
        entry_avgdl=pack.weighted_entry_avgdl,
        mark=pack_mark(pack.pk),
        old=retired_mark(pack.pk),
    )
    pack.passage_count += count
    pack.passage_length += int(length)
    pack.weighted_avgdl = pack.weighted_avgdl or float(avgdl)
    pack.weighted_entry_avgdl = pack.weighted_entry_avgdl or float(entry_avgdl)


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


def drifted(pack: KnowledgePack) -> bool:
    """Whether the stored weights were made for average lengths (of passages or of entries) that are more than 5 % off by now."""
    if not pack.passage_count or not pack.weighted_avgdl:
        return False
    made_for = ((pack.weighted_avgdl, pack.passage_count), (pack.weighted_entry_avgdl, pack.entry_count))
    return any(abs(_average(pack, count) / (old or 1.0) - 1) > DRIFT for old, count in made_for)


def aim(pack: KnowledgePack) -> None:
    """Take today's average lengths for the weights of the pack. New words get weights for them from now on; the others are
    ``reweigh``'s to change, and ``reweigh_cursor`` says how far that is."""
    pack.weighted_avgdl = _average(pack, pack.passage_count) if pack.passage_count else 0.0
    pack.weighted_entry_avgdl = _average(pack, pack.entry_count) if pack.passage_count else 0.0
    pack.reweigh_cursor = BEFORE_ALL


def reweigh(pack: KnowledgePack, passages: Sequence[UUID] | None = None) -> None:
    """Compute the BM25 weights of these passages (None: of all), and of the entries that begin with them, for the average lengths
    that the pack has aimed at."""
    values = {"pack": pack.pk, "passages": None if passages is None else list(passages)}
    with connection.cursor() as cursor:
        cursor.execute(_REWEIGH, {**values, "avgdl": pack.weighted_avgdl})
        cursor.execute(_REWEIGH_ENTRIES, {**values, "entry_avgdl": pack.weighted_entry_avgdl})


def _average(pack: KnowledgePack, count: int) -> float:
    return max(pack.passage_length / max(count, 1), 1.0)


def rebuild(pack: KnowledgePack) -> None:
    """Index the whole pack anew, as after a change of language."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM knowledge_passagelexical WHERE pack_id = %s", [pack.pk])
        cursor.execute("DELETE FROM knowledge_termstats WHERE pack_id = %s", [pack.pk])
    pack.passage_count, pack.passage_length = 0, 0
    pack.weighted_avgdl = pack.weighted_entry_avgdl = 0.0
    pack.reweigh_cursor = None
    add(pack, None)


def _one(statement: str, **values: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone()
