"""Hybrid search over packs: true BM25 and exact cosine, each scoring the union of both candidate lists.

Who may search which pack is the selectors' business: callers pass packs that they were given there. Three statements: the query's
terms as each pack knows them; candidates with both scores (one leg for each pack); text and highlight of the final hits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from knowledge import highlight, legs, query, ranking
from knowledge.embeddings import get_embedder, query_vector
from knowledge.errors import EmbeddingError
from knowledge.models import EmbeddingSpace, KnowledgePack, SpaceState
from knowledge.ranking import Candidate, Mode, Ranked
from realtime.errors import InvalidInput

LIMIT_MAX = 50
CANDIDATES = 100  # each half's contribution to the union


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry, by its best passage: ``text`` is ``content[start:end]`` of the named revision."""

    pack_id: UUID
    pack_title: str
    entry_id: UUID
    title: str
    tags: list[str]
    metadata: dict[str, Any]
    source_url: str | None
    external_id: str | None
    revision_id: UUID
    revision: int
    passage_id: UUID
    ordinal: int
    start: int
    end: int
    heading: str
    text: str
    score: float
    lexical: float | None
    semantic: float | None
    highlight: str  # HTML: escaped text with <mark>
    more: int  # further passages of the entry among the candidates
    explain: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    query: str
    mode: str  # as carried out: hybrid falls back to lexical while the embedding model does not answer
    took_ms: float
    hits: list[Hit] = field(default_factory=list)
    explain: dict[str, Any] | None = None


def search(
    packs: Sequence[KnowledgePack],
    text: str,
    *,
    mode: str = Mode.HYBRID,
    limit: int = 10,
    tags: Sequence[str] = (),
    explain: bool = False,
) -> SearchResult:
    """The best entries of ``packs`` for ``text``; with ``tags``, only entries that carry all of them.

    Double quotes and minus signs filter as in web search. Raises ``InvalidInput`` for a blank query, an unknown mode or a limit
    outside 1 to 50, ``EmbeddingError`` when ``semantic`` is asked for and the model does not answer; no query is an error in itself.
    """
    started = time.perf_counter()
    asked = _checked(text, mode, limit)
    parsed = query.parse(text)
    vectors, carried_out = _vectors(packs, parsed.text, asked)
    depth = max(CANDIDATES, 4 * limit)
    plans = legs.plan(packs, parsed, vectors, carried_out, tags)
    candidates = [candidate for plan in plans for candidate in legs.run(plan, depth)]
    ranked = ranking.fuse(candidates, carried_out)[:limit]
    notes = _explain(plans, candidates, ranked) if explain else None
    hits = _hits(packs, plans, ranked, notes)
    return SearchResult(
        query=text,
        mode=carried_out.value,
        took_ms=round((time.perf_counter() - started) * 1000, 2),
        hits=hits,
        explain=notes["search"] if notes else None,
    )


def _checked(text: str, mode: str, limit: int) -> Mode:
    if not text.replace("\x00", " ").strip():
        raise _invalid("q", "The query is empty.")
    if mode not in list(Mode):
        raise _invalid("mode", f"mode is one of {', '.join(Mode)}.")
    if not 1 <= limit <= LIMIT_MAX:
        raise _invalid("limit", f"limit is a whole number from 1 to {LIMIT_MAX}.")
    return Mode(mode)


def _invalid(parameter: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, code=f"bad_{parameter}", errors=[{"pointer": f"/{parameter}", "detail": detail}])


def _vectors(packs: Sequence[KnowledgePack], text: str, mode: Mode) -> tuple[legs.Vectors | None, Mode]:
    """The query's vector and the spaces to look in, and the mode that remains possible."""
    if mode is Mode.LEXICAL or not text:
        return None, mode
    present = EmbeddingSpace.objects.filter(pack__in=packs, state=SpaceState.PRESENT)
    spaces = {space.pack_id: space for space in present}
    if not spaces:
        return None, mode
    try:
        embedder = get_embedder()
        vector = query_vector(text)
    except EmbeddingError:
        if mode is Mode.SEMANTIC:
            raise
        return None, Mode.LEXICAL
    usable = {
        pack: space.pk
        for pack, space in spaces.items()
        if (space.model, space.dimension) == (embedder.model, len(vector))
    }
    return legs.Vectors(vector, usable), mode


def _hits(
    packs: Sequence[KnowledgePack],
    plans: Sequence[legs.Leg],
    ranked: Sequence[Ranked],
    notes: dict[str, Any] | None,
) -> list[Hit]:
    names = {pack.pk: pack.name for pack in packs}
    details = highlight.details(plans, [item.candidate.passage for item in ranked])
    return [
        Hit(
            **details[item.candidate.passage],
            pack_title=names[details[item.candidate.passage]["pack_id"]],
            score=round(item.score, 6),
            lexical=item.candidate.lexical,
            semantic=item.candidate.semantic,
            more=item.more,
            explain=notes["hits"][item.candidate.passage] if notes else None,
        )
        for item in ranked
        if item.candidate.passage in details  # not revised between the two statements
    ]


def _explain(plans: Sequence[legs.Leg], candidates: Sequence[Candidate], ranked: Sequence[Ranked]) -> dict[str, Any]:
    """How the list came about: terms and paths of each pack; for each hit, its rank in either half."""
    lexical = _places(candidates, "lexical")
    semantic = _places(candidates, "semantic")
    passages = [item.candidate.passage for item in ranked]
    matched = highlight.matched_terms(plans, passages)
    return {
        "search": {"candidates": len(candidates), "packs": [plan.explain() for plan in plans]},
        "hits": {
            passage: {
                "ranks": {"lexical": lexical.get(passage), "semantic": semantic.get(passage)},
                "matched_terms": matched.get(passage, []),
            }
            for passage in passages
        },
    }


def _places(candidates: Sequence[Candidate], half: str) -> dict[UUID, int]:
    """Rank from 1 by one score, of the candidates that have it."""
    scored = [(getattr(candidate, half), candidate.passage) for candidate in candidates if getattr(candidate, half)]
    return {passage: place for place, (_, passage) in enumerate(sorted(scored, key=lambda p: (-p[0], p[1])), 1)}
