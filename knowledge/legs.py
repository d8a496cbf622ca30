"""One leg of a search for each pack: the query in the pack's own terms, and the statements that fetch scored candidates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db import connection
from pgvector import HalfVector

from knowledge import ann, words
from knowledge.embeddings import Vector
from knowledge.filters import Conditions, Filters, conditions
from knowledge.models import LEXEME_DIMENSIONS, KnowledgePack, Language, Snapshot
from knowledge.query import BUDGET, FILTERED_BUDGET, ParsedQuery, Term, gate, quoted, sparse, tsquery
from knowledge.ranking import Candidate, Mode

SIMILARITY: Final = 0.4  # of trigrams, from which a lexeme may stand in for one that the pack does not have


@dataclass(frozen=True, slots=True)
class Space:
    """A pack's present space, and the query as a unit vector of it."""

    id: int
    query: Vector
    indexed: bool = False  # whether its HNSW index is ready and trusted


@dataclass(slots=True)
class Leg:
    """What one pack is asked, and (after ``run``) how it went. ``mode`` and ``space`` are filled in when the query is embedded."""

    pack: KnowledgePack
    terms: Sequence[Term]
    phrases: str
    filters: Filters
    snapshot: Snapshot | None
    some_disabled: bool
    total: int  # passages that are searched
    languages: Sequence[str]  # in which entries are written, the pack's first
    mode: Mode = Mode.LEXICAL
    space: Space | None = None  # None when this leg is lexical alone
    path: str = "none"  # of the dense half
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def lexical(self) -> bool:
        return self.mode is not Mode.SEMANTIC and bool(self.terms)

    @property
    def filtered(self) -> bool:
        return bool(self.phrases or self.filters or self.some_disabled or self.snapshot)

    @property
    def gate(self) -> list[Term]:
        return gate(self.terms, FILTERED_BUDGET if self.filtered else BUDGET) if self.lexical else []

    def explain(self) -> dict[str, Any]:
        return {
            "pack": str(self.pack.pk),
            "snapshot": self.snapshot.label if self.snapshot else None,
            "languages": list(self.languages),
            "terms": [
                {"lexeme": term.lexeme, "qtf": term.qtf, "df": term.df, "typed": term.typed or None}
                for term in self.terms
            ],
            "gate": [term.lexeme for term in self.gate],
            "paths": [*(["bm25"] if self.lexical else []), *([self.path] if self.space is not None else [])],
            "lexical_weight": self.pack.lexical_weight,
            "filter": self.phrases or None,
            "passages": self.total,
            "timings_ms": self.timings,
        }


# Lexemes of the query by pack and language, where they stand in it, and in how many passages; for one that the pack does not have,
# the nearest it has. Numbers are not corrected: 1957 is no misspelling of 1956.
_TERMS: Final = f"""
    SELECT k.pack, k.config, t.lexeme, t.positions, s.df, near.lexeme, near.df,
           (SELECT {words.KEY} FROM (SELECT coalesce(near.lexeme, t.lexeme) AS lexeme) AS used),
           EXISTS (SELECT 1 FROM knowledge_entry e WHERE e.pack_id = k.owner AND NOT e.enabled AND e.deleted_at IS NULL),
           k.total
    FROM (
        SELECT a.pack, a.owner, coalesce(a.total, p.passage_count) AS total, 'quorum_' || l.language AS config
        FROM unnest(%(keys)s::uuid[], %(packs)s::uuid[], %(totals)s::int[]) AS a(pack, owner, total)
        JOIN knowledge_knowledgepack p ON p.id = a.owner
        JOIN unnest(%(languages)s::text[]) AS l(language) ON l.language = p.language OR EXISTS (
            SELECT 1 FROM knowledge_entry e WHERE e.pack_id = a.owner AND e.language = l.language AND e.language <> '')
    ) AS k
    LEFT JOIN LATERAL unnest(to_tsvector(k.config::regconfig, %(text)s)) AS t ON true
    LEFT JOIN {{stats}} s ON s.{{key}} = k.pack AND s.lexeme = t.lexeme
    LEFT JOIN LATERAL (
        SELECT n.lexeme, n.df FROM {{stats}} n
        WHERE s.df IS NULL AND length(t.lexeme) >= 4 AND t.lexeme !~ '[0-9]'
          AND n.{{key}} = k.pack AND n.lexeme %% t.lexeme AND similarity(n.lexeme, t.lexeme) >= {SIMILARITY}
        ORDER BY similarity(n.lexeme, t.lexeme) DESC, n.df DESC, n.lexeme LIMIT 1
    ) AS near ON true
"""  # noqa: S608  # constants of ours
_OF_PACKS: Final = _TERMS.format(stats="knowledge_termstats", key="pack_id")
_OF_SNAPSHOT: Final = _TERMS.format(stats="knowledge_snapshotterm", key="snapshot_id")


def plan(
    packs: Sequence[KnowledgePack],
    parsed: ParsedQuery,
    filters: Filters,
    snapshot: Snapshot | None = None,
) -> list[Leg]:
    """A leg for each pack. ``snapshot`` is of the only pack."""
    keys = {snapshot.pk if snapshot else pack.pk: pack for pack in packs}
    values: dict[str, Any] = {
        "keys": list(keys),
        "packs": [pack.pk for pack in keys.values()],
        "totals": [snapshot.passage_count if snapshot else None for _ in keys],
        "languages": Language.values,
        "text": parsed.text,
    }
    with connection.cursor() as cursor:
        cursor.execute(_OF_SNAPSHOT if snapshot else _OF_PACKS, values)
        rows = cursor.fetchall()
    legs = []
    for key, pack in keys.items():
        own = [row[1:] for row in rows if row[0] == key]
        if not own:
            continue  # the pack was purged meanwhile
        *_, some_disabled, total = own[0]
        configs = sorted({row[0] for row in own}, key=lambda config: (config != pack.text_config, config))
        legs.append(
            Leg(
                pack=pack,
                terms=_terms(own),
                phrases=parsed.filter,
                filters=filters,
                snapshot=snapshot,
                some_disabled=some_disabled and not snapshot,
                total=total,
                languages=[config.removeprefix("quorum_") for config in configs],
            )
        )
    return legs


def _terms(rows: Sequence[Sequence[Any]]) -> list[Term]:
    """The query's terms. A word is corrected only when no language of the pack knows it, and counts once however many do."""
    known_places = {place for _, _, places, df, *_ in rows if df for place in places}
    by_config: dict[str, dict[str, Term]] = {}
    for config, lexeme, places, df, near, near_df, key, _, _ in rows:
        if lexeme is None or not (df or (near_df and known_places.isdisjoint(places))):
            continue
        terms = by_config.setdefault(config, {})
        _count(terms, Term(near or lexeme, key, len(places), df or near_df, lexeme if near else ""))
    merged: dict[str, Term] = {}
    for terms in by_config.values():
        for lexeme, term in terms.items():
            if lexeme not in merged or merged[lexeme].qtf < term.qtf:
                merged[lexeme] = term
    return list(merged.values())


def _count(terms: dict[str, Term], term: Term) -> None:
    """Add a term; a corrected one may be there already under its right spelling."""
    known = terms.get(term.lexeme)
    terms[term.lexeme] = (
        Term(term.lexeme, term.key, known.qtf + term.qtf, term.df, known.typed or term.typed) if known else term
    )


def run(leg: Leg, depth: int) -> list[Candidate]:
    """The union of the best ``depth`` passages of either half, all with all scores."""
    if not leg.lexical and leg.space is None:
        return []
    started = time.perf_counter()
    near = _indexed(leg, depth)
    rows = _candidates(leg, depth, near)
    if near is not None and _too_few(leg, rows, near, depth):
        near, leg.path = None, "exact"
        rows = _candidates(leg, depth, None)
    leg.timings["candidates"] = round((time.perf_counter() - started) * 1000, 2)
    weight = leg.pack.lexical_weight
    return [
        Candidate(passage, entry, lexical, semantic, weight, own) for passage, entry, lexical, own, semantic in rows
    ]


def _indexed(leg: Leg, depth: int) -> list[UUID] | None:
    """Nearest passages by the space's HNSW index, or None where search is exact. Filters come after the index, so it is asked for
    more when there are any."""
    if leg.space is None:
        return None
    if leg.snapshot or not leg.space.indexed:
        leg.path = "exact"
        return None
    started = time.perf_counter()
    leg.path = "hnsw"
    found = ann.nearest(leg.space.id, leg.space.query, depth * 4 if leg.filtered else depth)
    leg.timings["hnsw"] = round((time.perf_counter() - started) * 1000, 2)
    return found


def _too_few(leg: Leg, rows: Sequence[Sequence[Any]], near: Sequence[UUID], depth: int) -> bool:
    """Whether the index, or the filters after it, left less than was asked for although the pack holds more."""
    left = len({row[0] for row in rows} & set(near)) if leg.filtered else len(near)
    return left < min(depth, leg.total)


_BM: Final = f"%(bm)s::sparsevec({LEXEME_DIMENSIONS})"


def _candidates(leg: Leg, depth: int, near: Sequence[UUID] | None) -> list[Any]:
    made = _conditions(leg)
    values = {
        **made.values,
        "pack": leg.pack.pk,
        "gate": _gate(leg),
        "bm": sparse(leg.terms, leg.total),
        "space": leg.space.id if leg.space else None,
        "vector": HalfVector(leg.space.query).to_text() if leg.space else None,
        "near": list(near or ()),
        "depth": depth,
    }
    halves = [
        *([_lexical_half(leg, made)] if leg.lexical else []),
        *([_dense_half(leg, made, near)] if leg.space else []),
    ]
    statement = f"""
        SELECT p.id, p.entry_id,
               {f"coalesce(-(w.bm <#> {_BM}), -(l.bm <#> {_BM})), -(l.bm <#> {_BM})" if leg.lexical else "NULL, NULL"},
               {f"1 - ({_distance(leg, 'v.embedding')})" if leg.space else "NULL"}
        FROM ({" UNION ".join(f"({half})" for half in halves)}) AS u
        JOIN knowledge_passage p ON p.id = u.passage_id
        JOIN knowledge_entry e ON e.id = p.entry_id {"" if leg.snapshot else f"AND {_CURRENT}"}
        {"JOIN knowledge_passagelexical l ON l.passage_id = u.passage_id" if leg.lexical else ""}
        {"LEFT JOIN knowledge_entrylexical w ON w.revision_id = p.revision_id" if leg.lexical else ""}
        {"LEFT JOIN knowledge_passagevector v ON v.space_id = %(space)s AND v.passage_id = u.passage_id" if leg.space else ""}
    """  # noqa: S608  # made of constants of this module and whole numbers
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


_CURRENT: Final = "e.enabled AND e.deleted_at IS NULL AND e.revision_id = p.revision_id"


def _conditions(leg: Leg) -> Conditions:
    """What a passage must fulfil where the leg is filtered: conditions on p (passage), e (entry) and l (words)."""
    made = conditions(leg.filters)
    if leg.snapshot:
        made.add("EXISTS (SELECT 1 FROM knowledge_snapshotentry s WHERE s.snapshot_id = %(snapshot)s"
                 " AND s.revision_id = p.revision_id)", snapshot=leg.snapshot.pk)  # fmt: skip
    else:
        made.add(_CURRENT)
    if leg.phrases:  # of stop words alone it is an empty query, which would match nothing
        either = " OR ".join(
            f"numnode({query}) = 0 OR l.tsv @@ {query}"
            for n in range(len(leg.languages))
            for query in [f"websearch_to_tsquery(%(config_{n})s::regconfig, %(phrases)s)"]
        )
        # An exclusion must hold in the entry's own language; in others its words may be stop words or stems of something else.
        made.add(f"({either})" if len(leg.languages) == 1 else _in_own_language(leg), phrases=leg.phrases,
                 **{f"config_{n}": f"quorum_{language}" for n, language in enumerate(leg.languages)})  # fmt: skip
    return made


def _in_own_language(leg: Leg) -> str:
    cases = " ".join(
        f"WHEN %(config_{n})s::text THEN numnode({query}) = 0 OR l.tsv @@ {query}"
        for n in range(len(leg.languages))
        for query in [f"websearch_to_tsquery(%(config_{n})s::regconfig, %(phrases)s)"]
    )
    return f"CASE 'quorum_' || coalesce(nullif(e.language, ''), '{leg.languages[0]}') {cases} END"


def _joins(leg: Leg, table: str, alias: str) -> str:
    """The tables that the conditions speak of, joined to one half's table."""
    if not leg.filtered:
        return f"{table} {alias}"
    more = (
        f"JOIN knowledge_passagelexical l ON l.passage_id = {alias}.passage_id" if leg.phrases and alias != "l" else ""
    )
    return (
        f"{table} {alias} JOIN knowledge_passage p ON p.id = {alias}.passage_id"
        f" JOIN knowledge_entry e ON e.id = p.entry_id {more}"
    )


def _where(leg: Leg, made: Conditions) -> str:
    return "".join(f" AND {condition}" for condition in made.sql) if leg.filtered else ""


def _lexical_half(leg: Leg, made: Conditions) -> str:
    return f"""
        SELECT l.passage_id FROM {_joins(leg, "knowledge_passagelexical", "l")}
        WHERE l.tsv @@ %(gate)s::tsquery AND l.pack_id = %(pack)s {"" if leg.snapshot else "AND l.live"} {_where(leg, made)}
        ORDER BY l.bm <#> {_BM}, l.passage_id LIMIT %(depth)s
    """  # noqa: S608  # constants of this module; values are bound


def _dense_half(leg: Leg, made: Conditions, near: Sequence[UUID] | None) -> str:
    """Exact: recall 1, and fast enough up to about 20,000 passages. "+ 0" keeps the planner off any approximate index. Or what the
    index found, filtered."""
    if near is not None:
        found = _joins(leg, "(SELECT unnest(%(near)s::uuid[]) AS passage_id)", "n")
        return f"SELECT n.passage_id FROM {found} WHERE true {_where(leg, made)}"  # noqa: S608  # constants of this module; values are bound
    return f"""
        SELECT v.passage_id FROM {_joins(leg, "knowledge_passagevector", "v")}
        WHERE v.space_id = %(space)s {"" if leg.snapshot else "AND v.live"} {_where(leg, made)}
        ORDER BY ({_distance(leg, "v.embedding")}) + 0, v.passage_id LIMIT %(depth)s
    """  # noqa: S608  # constants of this module; values are bound


def _distance(leg: Leg, column: str) -> str:
    dimension = len(leg.space.query) if leg.space else 0
    return f"{column}::halfvec({dimension}) <=> %(vector)s::halfvec({dimension})"


def _gate(leg: Leg) -> str:
    """Passages of the pack that hold any of the rarest terms; for a snapshot, also those of old revisions."""
    current = quoted(words.pack_mark(leg.pack.pk))
    pack = f"({current} | {quoted(words.retired_mark(leg.pack.pk))})" if leg.snapshot else current
    return f"{pack} & ({tsquery([term.lexeme for term in leg.gate])})"
