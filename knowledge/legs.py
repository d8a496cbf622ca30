"""One leg of a search for each pack: the query in the pack's own terms, and the statement that fetches scored candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection
from pgvector import HalfVector

from knowledge import words
from knowledge.embeddings import Vector
from knowledge.models import LEXEME_DIMENSIONS, KnowledgePack
from knowledge.query import ParsedQuery, Term, gate, quoted, sparse, tsquery
from knowledge.ranking import Candidate, Mode

SIMILARITY: Final = 0.4  # of trigrams, from which a lexeme may stand in for one that the pack does not have


@dataclass(frozen=True, slots=True)
class Vectors:
    """The query as a unit vector, and the space to compare it in for each pack that has one."""

    query: Vector
    spaces: Mapping[UUID, int]


@dataclass(frozen=True, slots=True)
class Leg:
    """What one pack is asked."""

    pack: KnowledgePack
    mode: Mode
    terms: Sequence[Term]
    vectors: Vectors | None
    filter: str
    tags: Sequence[str]
    some_disabled: bool
    total: int  # passages of the pack now

    @property
    def lexical(self) -> bool:
        return self.mode is not Mode.SEMANTIC and bool(self.terms)

    @property
    def space(self) -> int | None:
        """The space to search, or None when this leg is lexical alone."""
        return self.vectors.spaces.get(self.pack.pk) if self.vectors and self.mode is not Mode.LEXICAL else None

    @property
    def filtered(self) -> bool:
        return bool(self.filter or self.tags or self.some_disabled)

    def explain(self) -> dict[str, Any]:
        return {
            "pack": str(self.pack.pk),
            "terms": [
                {"lexeme": term.lexeme, "qtf": term.qtf, "df": term.df, "typed": term.typed or None}
                for term in self.terms
            ],
            "gate": [term.lexeme for term in gate(self.terms)] if self.lexical else [],
            "paths": [*(["bm25"] if self.lexical else []), *(["exact"] if self.space is not None else [])],
            "lexical_weight": self.pack.lexical_weight,
            "filter": self.filter or None,
        }


# Lexemes of the query by pack, how often, and in how many passages; for one that the pack does not have, the nearest it has. Numbers
# are not corrected: 1957 is no misspelling of 1956.
_TERMS: Final = f"""
    SELECT k.pack, t.lexeme, cardinality(t.positions), s.df, near.lexeme, near.df,
           (SELECT {words.KEY} FROM (SELECT coalesce(near.lexeme, t.lexeme) AS lexeme) AS used),
           EXISTS (SELECT 1 FROM knowledge_entry e WHERE e.pack_id = k.pack AND NOT e.enabled AND e.deleted_at IS NULL),
           owner.passage_count
    FROM unnest(%(packs)s::uuid[], %(configs)s::text[]) AS k(pack, config)
    JOIN knowledge_knowledgepack owner ON owner.id = k.pack
    LEFT JOIN LATERAL unnest(to_tsvector(k.config::regconfig, %(text)s)) AS t ON true
    LEFT JOIN knowledge_termstats s ON s.pack_id = k.pack AND s.lexeme = t.lexeme
    LEFT JOIN LATERAL (
        SELECT n.lexeme, n.df FROM knowledge_termstats n
        WHERE s.df IS NULL AND length(t.lexeme) >= 4 AND t.lexeme !~ '[0-9]'
          AND n.pack_id = k.pack AND n.lexeme %% t.lexeme AND similarity(n.lexeme, t.lexeme) >= {SIMILARITY}
        ORDER BY similarity(n.lexeme, t.lexeme) DESC, n.df DESC, n.lexeme LIMIT 1
    ) AS near ON true
"""  # noqa: S608  # constants of ours


def plan(
    packs: Sequence[KnowledgePack],
    parsed: ParsedQuery,
    vectors: Vectors | None,
    mode: Mode,
    tags: Sequence[str],
) -> list[Leg]:
    with connection.cursor() as cursor:
        configs = [pack.text_config for pack in packs]
        cursor.execute(_TERMS, {"packs": [pack.pk for pack in packs], "configs": configs, "text": parsed.text})
        rows = cursor.fetchall()
    terms: dict[UUID, dict[str, Term]] = {}
    facts: dict[UUID, tuple[bool, int]] = {}
    for pack_id, lexeme, qtf, df, near, near_df, key, some_disabled, total in rows:
        facts[pack_id] = (some_disabled, total)
        known = terms.setdefault(pack_id, {})
        if lexeme is not None and (df or near_df):
            _count(known, Term(near or lexeme, key, qtf, df or near_df, lexeme if near else ""))
    return [
        Leg(pack, mode, list(terms[pack.pk].values()), vectors, parsed.filter, tags, *facts[pack.pk])
        for pack in packs
        if pack.pk in facts
    ]


def _count(terms: dict[str, Term], term: Term) -> None:
    """Add a term; a corrected one may be there already under its right spelling."""
    known = terms.get(term.lexeme)
    terms[term.lexeme] = (
        Term(term.lexeme, term.key, known.qtf + term.qtf, term.df, known.typed or term.typed) if known else term
    )


def run(leg: Leg, depth: int) -> list[Candidate]:
    """The union of the best ``depth`` passages of either half, all with both scores."""
    halves = [*([_LEXICAL_HALF] if leg.lexical else []), *([_dense_half(leg)] if leg.space is not None else [])]
    if not halves:
        return []
    join = "JOIN allowed USING (passage_id)" if leg.filtered else ""
    allowed = f"WITH allowed AS MATERIALIZED ({_allowed(leg)})" if leg.filtered else ""
    union = " UNION ".join(f"({half.format(join=join)})" for half in halves)
    statement = f"""
        {allowed}
        SELECT p.id, p.entry_id, {_LEXICAL_SCORE if leg.lexical else "NULL"}, {_semantic_score(leg)}
        FROM ({union}) AS u
        JOIN knowledge_passage p ON p.id = u.passage_id
        JOIN knowledge_entry e ON e.id = p.entry_id AND e.enabled AND e.deleted_at IS NULL
        {"JOIN knowledge_passagelexical l ON l.passage_id = u.passage_id" if leg.lexical else ""}
        {_VECTOR_JOIN if leg.space is not None else ""}
    """  # noqa: S608  # made of constants of this module and whole numbers
    with connection.cursor() as cursor:
        cursor.execute(statement, _values(leg, depth))
        weight = leg.pack.lexical_weight
        return [
            Candidate(passage, entry, lexical, semantic, weight)
            for passage, entry, lexical, semantic in cursor.fetchall()
        ]


_LEXICAL_HALF: Final = f"""
    SELECT passage_id FROM knowledge_passagelexical {{join}}
    WHERE tsv @@ %(gate)s::tsquery AND pack_id = %(pack)s
    ORDER BY bm <#> %(bm)s::sparsevec({LEXEME_DIMENSIONS}), passage_id LIMIT %(depth)s
"""  # noqa: S608
_LEXICAL_SCORE: Final = f"-(l.bm <#> %(bm)s::sparsevec({LEXEME_DIMENSIONS}))"
_VECTOR_JOIN: Final = "LEFT JOIN knowledge_passagevector v ON v.space_id = %(space)s AND v.passage_id = u.passage_id"


def _dense_half(leg: Leg) -> str:
    """Exact: recall 1, and fast enough up to about 20,000 passages. "+ 0" keeps the planner off any approximate index."""
    return f"""
        SELECT passage_id FROM knowledge_passagevector {{join}}
        WHERE space_id = %(space)s AND live
        ORDER BY ({_distance(leg, "embedding")}) + 0, passage_id LIMIT %(depth)s
    """  # noqa: S608


def _semantic_score(leg: Leg) -> str:
    return f"1 - ({_distance(leg, 'v.embedding')})" if leg.space is not None else "NULL"


def _distance(leg: Leg, column: str) -> str:
    dimension = len(leg.vectors.query) if leg.vectors else 0
    return f"{column}::halfvec({dimension}) <=> %(vector)s::halfvec({dimension})"


def _allowed(leg: Leg) -> str:
    """Passages that pass the filters, for when there are any."""
    conditions = ["l.pack_id = %(pack)s", "e.enabled", "e.deleted_at IS NULL"]
    if leg.tags:
        conditions.append("e.tags @> %(tags)s::varchar[]")
    if leg.filter:  # of stop words alone it is an empty query, which would match nothing
        conditions.append("(numnode(f.query) = 0 OR l.tsv @@ f.query)")
    return f"""
        SELECT l.passage_id FROM knowledge_passagelexical l
        JOIN knowledge_passage p ON p.id = l.passage_id
        JOIN knowledge_entry e ON e.id = p.entry_id
        {"CROSS JOIN websearch_to_tsquery(%(config)s::regconfig, %(filter)s) AS f(query)" if leg.filter else ""}
        WHERE {" AND ".join(conditions)}
    """  # noqa: S608


def _values(leg: Leg, depth: int) -> dict[str, Any]:
    rarest = tsquery([term.lexeme for term in gate(leg.terms)])
    return {
        "pack": leg.pack.pk,
        "config": leg.pack.text_config,
        "filter": leg.filter,
        "tags": list(leg.tags),
        "gate": f"{quoted(words.pack_mark(leg.pack.pk))} & ({rarest})",
        "bm": sparse(leg.terms, leg.total),
        "space": leg.space,
        "vector": HalfVector(leg.vectors.query).to_text() if leg.vectors else None,
        "depth": depth,
    }
