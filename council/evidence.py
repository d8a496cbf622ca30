"""What seats read: their own searches, and the joint list that the writer of the decision gets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast
from uuid import UUID

from accounts.models import User
from council import similarity
from council.deliberation import citations
from council.deliberation.tools import Pack
from council.deliberation.types import Evidence
from council.models import CouncilSession, SessionPack, Turn
from knowledge.models import KnowledgePack, Snapshot
from knowledge.quality import log as quality_log
from knowledge.ranking import Candidate, Mode, fuse
from knowledge.search import Hit, SearchResult, search
from knowledge.selectors import readable_packs, revision_text

JOINT_LIMIT = 8  # passages that the writer of the decision reads


def retrieve(session_id: UUID, query: str, k: int, pack: UUID | None = None) -> tuple[Evidence, ...]:
    """Search the session's packs as one seat: at most ``k`` passages, best first, numbered from 1.

    ``pack`` narrows the search to that one of them; one that is not, or no longer, of the session is not searched.
    """
    sources = [source for source in _sources(session_id) if pack is None or source.pack.pk == pack]
    if not sources:
        return ()
    excluded = CouncilSession.objects.values_list("excluded_entries", flat=True).get(pk=session_id)
    return _retrieve(sources, query, k, frozenset(excluded))


def retrieve_from(packs: Iterable[KnowledgePack], query: str, k: int) -> tuple[Evidence, ...]:
    """The same without a session: packs as they are now, which the caller may read."""
    return _retrieve([Source(pack, None) for pack in packs], query, k)


def _retrieve(
    sources: Sequence[Source], query: str, k: int, excluded: frozenset[str] = frozenset()
) -> tuple[Evidence, ...]:
    if not sources or not k:
        return ()
    hits = _hits(sources, query, k, excluded)
    return tuple(_evidence(n, *hit) for n, hit in enumerate(hits, start=1))


def searchable(session_id: UUID) -> tuple[Pack, ...]:
    """The packs that seats of the session may search now."""
    return tuple(Pack(id=str(source.pack.pk), name=source.pack.name) for source in _sources(session_id))


@dataclass(frozen=True, slots=True)
class Source:
    """A pack of the session, and the snapshot of it that the session pins, if it does."""

    pack: KnowledgePack
    snapshot: Snapshot | None


def _sources(session_id: UUID) -> list[Source]:
    """The session's packs that its owner may read now: a share that was taken back ends what their councils read, too."""
    if not SessionPack.objects.filter(councilsession=session_id).exists():
        return []
    owner = User.objects.get(council_sessions=session_id)
    pins = SessionPack.objects.filter(councilsession=session_id, knowledgepack__in=readable_packs(owner).values("pk"))
    return [
        Source(pin.knowledgepack, pin.snapshot)
        for pin in pins.select_related("knowledgepack", "snapshot").order_by("pk")
    ]


def _hits(
    sources: Sequence[Source], query: str, k: int, excluded: frozenset[str] = frozenset()
) -> list[tuple[Hit, Snapshot | None]]:
    """Packs as they are now are searched together, each pinned snapshot by itself; then the best of all. An entry is at most one hit, so
    with as many more hits as there are entries to leave out, ``k`` others are among them if there are so many."""
    live = [source.pack for source in sources if source.snapshot is None]
    asked: list[tuple[list[KnowledgePack], Snapshot | None]] = [(live, None)] if live else []
    asked += [([source.pack], source.snapshot) for source in sources if source.snapshot is not None]
    found = [
        _without(search(packs, query, limit=k + len(excluded), snapshot=snapshot), excluded, k)
        for packs, snapshot in asked
    ]
    for result, (packs, _) in zip(found, asked, strict=True):
        quality_log.record(packs, None, query, result.mode, result, "council")
    pinned = {
        hit.passage_id: snapshot for result, (_, snapshot) in zip(found, asked, strict=True) for hit in result.hits
    }
    return [
        (hit, pinned[hit.passage_id]) for hit in merge(found, {source.pack.pk: source.pack for source in sources}, k)
    ]


def _without(found: SearchResult, excluded: frozenset[str], k: int) -> SearchResult:
    if not excluded:
        return found
    return replace(found, hits=[hit for hit in found.hits if str(hit.entry_id) not in excluded][:k])


def merge(found: Sequence[SearchResult], packs: Mapping[UUID, KnowledgePack], k: int) -> list[Hit]:
    """The best ``k`` hits of several searches for one query, with scores that can be compared.

    A search divides BM25 by the highest of its own hits, so that the best hit of a poor source looks as good as that of a rich
    one. Here the scores are made anew over the hits of all, by the formula that a search over several packs uses. The order
    within a source stays what its search made it (a reranker may have had its say): the next hit is the best of the sources' next.
    """
    if len(found) < 2:
        return [hit for result in found for hit in result.hits][:k]
    scores = _joint_scores(found, packs)
    queues = [[replace(hit, score=scores[hit.passage_id]) for hit in result.hits] for result in found]
    merged: list[Hit] = []
    while len(merged) < k and any(queues):
        best = max((queue for queue in queues if queue), key=lambda queue: queue[0].score)
        merged.append(best.pop(0))
    return merged


def _joint_scores(found: Sequence[SearchResult], packs: Mapping[UUID, KnowledgePack]) -> dict[UUID, float]:
    """By passage. Where the embedding model answered one search and not another, words count as in a hybrid search."""
    modes = {result.mode for result in found if result.hits}
    mode = Mode.HYBRID if Mode.HYBRID in modes else Mode.LEXICAL
    candidates = [
        # By its passage, not its entry: no two sources share an entry, and none of these may be folded into another.
        Candidate(hit.passage_id, hit.passage_id, hit.lexical, hit.semantic, packs[hit.pack_id].lexical_weight)
        for result in found
        for hit in result.hits
    ]
    return {ranked.candidate.passage: ranked.score for ranked in fuse(candidates, mode)}


def _evidence(n: int, hit: Hit, snapshot: Snapshot | None) -> Evidence:
    return Evidence(
        n=n,
        pack=hit.pack_title,
        entry=str(hit.entry_id),
        revision=str(hit.revision_id),
        passage=str(hit.passage_id),
        title=hit.title,
        text=hit.text,
        start=hit.start,
        end=hit.end,
        score=round(hit.score, 4),
        snapshot=str(snapshot.pk) if snapshot else None,
        snapshot_label=snapshot.label if snapshot else "",
    )


# --- whether it bears out what is said of it --------------------------------------------------------------------------


def checked(text: str, shown: Sequence[Evidence], given: str) -> tuple[citations.CitationCheck, ...]:
    """Every citation of a text, checked by quote and words, and what these leave open by meaning. Asks the packs' embedding models:
    never inside a transaction. Without an answer of theirs words alone decide."""
    doubts = citations.doubts(text, shown, _revision_text, given)
    return citations.check(text, shown, _revision_text, given, similarity.scores(doubts) if doubts else None)


def _revision_text(revision: str) -> str | None:
    return revision_text(UUID(revision))


def shown_to(turn: Turn) -> tuple[Evidence, ...]:
    return tuple(Evidence.model_validate(item) for item in cast("list[object]", turn.evidence))


# --- the joint list ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Joint:
    """One numbering over what several seats cited, and their texts rewritten to it."""

    evidence: tuple[Evidence, ...]
    texts: tuple[str, ...]


def join(parts: Sequence[tuple[str, Sequence[Evidence]]]) -> Joint:
    """Merge the evidence that each (text, its seat's evidence) cites. Marks that fall off the end of the list, or that named
    nothing, are left out of the rewritten texts: their writer's own record keeps them."""
    numbers: dict[tuple[str, int, int], int] = {}
    merged: list[Evidence] = []
    texts = []
    for text, evidence in parts:
        own = {item.n: item for item in evidence}
        renamed = {n: _joint_number(own[n], numbers, merged) for n in citations.numbers(text) if n in own}
        texts.append(_rewrite(text, renamed))
    return Joint(tuple(merged), tuple(texts))


def _joint_number(item: Evidence, numbers: dict[tuple[str, int, int], int], merged: list[Evidence]) -> int | None:
    key = (item.revision, item.start, item.end)
    if key not in numbers and len(merged) < JOINT_LIMIT:
        numbers[key] = len(merged) + 1
        merged.append(item.model_copy(update={"n": numbers[key]}))
    return numbers.get(key)


def _rewrite(text: str, renamed: dict[int, int | None]) -> str:
    pieces, last = [], 0
    for mark in citations.marks(text):
        new = [renamed.get(n) for n in mark.numbers]
        pieces += [text[last : mark.span.start], "".join(f"[{n}]" for n in new if n is not None)]
        last = mark.span.end
    return re.sub(r"(?<!\s)\s+([.,;])", r"\1", "".join([*pieces, text[last:]]))


def extend(first: Sequence[Evidence], more: Iterable[Evidence], limit: int) -> tuple[Evidence, ...]:
    """``first`` with its numbers, then what is new in ``more``, numbered on, up to ``limit`` passages."""
    merged = list(first)
    seen = {(item.revision, item.start, item.end) for item in merged}
    for item in more:
        key = (item.revision, item.start, item.end)
        if len(merged) < limit and key not in seen:
            seen.add(key)
            merged.append(item.model_copy(update={"n": len(merged) + 1}))
    return tuple(merged)
