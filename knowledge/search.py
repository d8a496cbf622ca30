"""Hybrid search over packs: true BM25 and cosine, each scoring the union of both candidate lists.

Who may search which pack is the selectors' business: callers pass packs that they were given there. Four statements: the state of
the packs and their spaces; the query's terms as each pack knows them; candidates with both scores (one leg for each pack); text and
highlight of the final hits. A cached result takes the first of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from prometheus_client import Counter

from knowledge import ann, embeddings, highlight, legs, query, ranking, reranking, results_cache
from knowledge.errors import EmbeddingError
from knowledge.filters import Filters
from knowledge.models import AnnState, EmbeddingSpace, KnowledgePack, Snapshot, SpaceState
from knowledge.ranking import Candidate, Mode, Ranked
from realtime.errors import InvalidInput

LIMIT_MAX = 100
CANDIDATES = 100  # each half's contribution to the union
PATHS = Counter("quorum_search_paths_total", "Ways in which the dense half of a search was carried out", ["path"])


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
    lexical: float | None  # BM25 of the entry
    semantic: float | None  # cosine of the entry's nearest passage
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
    path: str = "none"  # of the dense half: exact, hnsw (any leg), none
    cached: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    text: str
    mode: Mode
    limit: int
    filters: Filters
    snapshot: Snapshot | None
    min_score: float | None
    explain: bool


def search(
    packs: Sequence[KnowledgePack],
    text: str,
    *,
    mode: str = Mode.HYBRID,
    limit: int = 10,
    tags: Sequence[str] = (),
    filters: Filters | None = None,
    snapshot: Snapshot | None = None,
    min_score: float | None = None,
    explain: bool = False,
) -> SearchResult:
    """The best entries of ``packs`` for ``text``; with ``tags``, only entries that carry all of them (short for ``filters``). With
    a ``snapshot`` of the one pack that is given, exactly its revisions are searched, whatever became of them.

    Double quotes and minus signs filter as in web search. Raises ``InvalidInput`` for a blank query, an unknown mode or a limit
    outside 1 to 100, ``EmbeddingError`` when ``semantic`` is asked for and the model does not answer; no query is an error in
    itself.
    """
    started = time.perf_counter()
    filters = filters or Filters()
    if tags:
        filters = replace(filters, tags=[*filters.tags, *tags])
    if snapshot and [pack.pk for pack in packs] != [snapshot.pack_id]:
        raise _invalid("snapshot", "A snapshot is searched on its own pack alone.")
    asked = _Asked(text, _checked(text, mode, limit), limit, filters, snapshot, min_score, explain)
    states = _states(packs)
    name = _cache_key(asked, states)
    if (kept := results_cache.get(name)) is not None:
        result = _from_json(kept)
    else:
        result, lasting = _search(packs, asked, states)
        if lasting:
            results_cache.put(name, _as_json(result))
    took = round((time.perf_counter() - started) * 1000, 2)
    notes = {**result.explain, "cache": "hit" if result.cached else "miss"} if result.explain else None
    return replace(result, took_ms=took, explain=notes)


_IDS: Final = ("pack_id", "entry_id", "revision_id", "passage_id")
_HIT: Final = tuple(one.name for one in fields(Hit))


def _as_json(result: SearchResult) -> dict[str, Any]:
    """Without the time that it took."""
    hits = [
        {name: getattr(hit, name) for name in _HIT} | {name: str(getattr(hit, name)) for name in _IDS}
        for hit in result.hits
    ]
    return {"query": result.query, "mode": result.mode, "hits": hits, "explain": result.explain, "path": result.path}


def _from_json(kept: dict[str, Any]) -> SearchResult:
    hits = [Hit(**{**hit, **{name: UUID(hit[name]) for name in _IDS}}) for hit in kept["hits"]]
    return SearchResult(**{**kept, "hits": hits}, took_ms=0.0, cached=True)


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


_OF_PACK: Final = ("id", "index_epoch", "name", "language", "lexical_weight")
_OF_SPACE: Final = ("id", "pack", "model", "dimension", "state", "ann_state", "embedding")


def _states(packs: Sequence[KnowledgePack]) -> list[dict[str, Any]]:
    """What a result may depend on besides the request, read now and not when the caller read the packs."""
    wanted = {pack.pk for pack in packs}
    spaces = EmbeddingSpace.objects.filter(pack__in=wanted, state=SpaceState.PRESENT).select_related("pack")
    present = {space.pack_id: space for space in spaces.only(*_OF_SPACE, *(f"pack__{name}" for name in _OF_PACK))}
    rows = {space.pack_id: space.pack for space in present.values()}
    if without := wanted - rows.keys():
        rows |= KnowledgePack.objects.only(*_OF_PACK).in_bulk(without)
    return [
        {**{name: getattr(rows[pack.pk], name) for name in _OF_PACK}, "space": present.get(pack.pk)}
        for pack in packs
        if pack.pk in rows
    ]


def _cache_key(asked: _Asked, states: Sequence[dict[str, Any]]) -> str:
    packs = [
        {**state, "space": (state["space"].pk, state["space"].ann_state) if state["space"] else None}
        for state in states
    ]
    snapshot = asked.snapshot.pk if asked.snapshot else None
    reranker = (settings.RERANKER_BASE_URL, settings.RERANKER_MODEL)
    asked = replace(asked, snapshot=None)
    return results_cache.key(
        [state["id"] for state in states],
        {"asked": repr(asked), "packs": packs, "snapshot": snapshot, "reranker": reranker},
    )


def _search(
    packs: Sequence[KnowledgePack], asked: _Asked, states: Sequence[dict[str, Any]]
) -> tuple[SearchResult, bool]:
    """The result, and whether it would be the same again: not while a model did not answer."""
    clock = _Clock()
    parsed = query.parse(asked.text)
    embedding = _Embedding(states, parsed.text, asked.mode)
    plans = legs.plan(packs, parsed, asked.filters, asked.snapshot)
    clock.lap("terms")
    spaces, mode, lasting = embedding.wait()
    for plan in plans:
        plan.mode, plan.space = mode, spaces.get(plan.pack.pk)
    clock.lap("embedding")  # beyond the terms
    depth = max(CANDIDATES, 4 * asked.limit)
    candidates = [candidate for plan in plans for candidate in legs.run(plan, depth)]
    clock.lap("candidates")
    ranked = ranking.fuse(candidates, mode)
    if asked.min_score is not None:
        ranked = [item for item in ranked if item.score >= asked.min_score]
    reranker = "off"
    if reranking.enabled() and ranked:
        ranked, reranker = _reranked(plans, parsed.text, ranked)
        lasting = lasting and reranker == "applied"
        clock.lap("reranker")
    ranked = ranked[: asked.limit]
    notes = _explain(plans, candidates, ranked) if asked.explain else None
    hits = _hits(packs, plans, ranked, notes)
    clock.lap("details")
    _observe(plans)
    paths = {plan.path for plan in plans}
    result = SearchResult(
        query=asked.text,
        mode=mode.value,
        took_ms=0.0,
        hits=hits,
        explain={**notes["search"], "reranker": reranker, "timings_ms": clock.laps} if notes else None,
        path=next((path for path in ("hnsw", "exact") if path in paths), "none"),
    )
    return result, lasting


class _Clock:
    """Milliseconds of each part."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round((now - self._last) * 1000, 2)
        self._last = now


class _Embedding:
    """The query on its way to a vector, once for each model, as the space's own model does it."""

    def __init__(self, states: Sequence[dict[str, Any]], text: str, mode: Mode) -> None:
        spaces: list[EmbeddingSpace] = [state["space"] for state in states if state["space"] is not None]
        self._mode = mode
        self._spaces = spaces if mode is not Mode.LEXICAL and text else []
        by_model = {_model_of(space): space for space in self._spaces}
        self._asked = {model: embeddings.query_vector_soon(space, text) for model, space in by_model.items()}

    def wait(self) -> tuple[dict[UUID, legs.Space], Mode, bool]:
        """The space to search of each pack that has one; the mode that remains possible; and whether every model answered."""
        if not self._spaces:
            return {}, self._mode, True
        vectors: dict[tuple[object, ...], embeddings.Vector] = {}
        for model, asked in self._asked.items():
            try:
                vectors[model] = asked.result()
            except EmbeddingError:
                if self._mode is Mode.SEMANTIC:
                    raise
        spaces = {
            space.pack_id: legs.Space(space.pk, vectors[_model_of(space)], space.ann_state == AnnState.READY)
            for space in self._spaces
            if _model_of(space) in vectors
        }
        return spaces, self._mode if vectors else Mode.LEXICAL, len(vectors) == len(self._asked)


def _model_of(space: EmbeddingSpace) -> tuple[object, ...]:
    return space.embedding_id, space.model, space.dimension


def _reranked(plans: Sequence[legs.Leg], text: str, ranked: list[Ranked]) -> tuple[list[Ranked], str]:
    """The first hits in the reranker's order, the rest after them. Scores stay those of the fusion."""
    top = ranked[: reranking.TOP]
    texts = highlight.texts([item.candidate.passage for item in top])
    scores, outcome = reranking.scores(text, [texts.get(item.candidate.passage, "") for item in top])
    if scores is None:
        return ranked, outcome
    order = sorted(range(len(top)), key=lambda place: (-scores[place], place))
    return [*(top[place] for place in order), *ranked[reranking.TOP :]], outcome


def _observe(plans: Sequence[legs.Leg]) -> None:
    for plan in plans:
        PATHS.labels(plan.path).inc()
        if plan.path == "hnsw" and plan.space:
            ann.maybe_sample(plan.space.id, plan.space.query)


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
            item.candidate.passage: {
                "ranks": {
                    "lexical": lexical.get(item.candidate.passage),
                    "semantic": semantic.get(item.candidate.passage),
                },
                "scores": {
                    "fused": round(item.score, 6),
                    "lexical": item.candidate.lexical,
                    "passage_lexical": item.candidate.own_lexical,
                    "semantic": item.candidate.semantic,
                },
                "matched_terms": matched.get(item.candidate.passage, []),
            }
            for item in ranked
        },
    }


def _places(candidates: Sequence[Candidate], half: str) -> dict[UUID, int]:
    """Rank from 1 by one score, of the candidates that have it."""
    scored = [(getattr(candidate, half), candidate.passage) for candidate in candidates if getattr(candidate, half)]
    return {passage: place for place, (_, passage) in enumerate(sorted(scored, key=lambda p: (-p[0], p[1])), 1)}
