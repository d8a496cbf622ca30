"""What seats read: their own searches, and the joint list that the writer of the decision gets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from accounts.models import User
from council.deliberation import citations
from council.deliberation.types import Evidence
from council.models import SessionPack
from knowledge.models import KnowledgePack, Snapshot
from knowledge.quality import log as quality_log
from knowledge.search import Hit, search
from knowledge.selectors import readable_packs

JOINT_LIMIT = 8  # passages that the writer of the decision reads


def retrieve(session_id: UUID, query: str, k: int) -> tuple[Evidence, ...]:
    """Search the session's packs as one seat: at most ``k`` passages, best first, numbered from 1."""
    sources = _sources(session_id)
    if not sources or not k:
        return ()
    return tuple(_evidence(n, hit) for n, hit in enumerate(_hits(sources, query, k), start=1))


@dataclass(frozen=True, slots=True)
class Source:
    """A pack of the session, and the snapshot of it that the session pins, if it does."""

    pack: KnowledgePack
    snapshot: Snapshot | None


def _sources(session_id: UUID) -> list[Source]:
    """The session's packs that its owner may read now: a share that was taken back ends what their councils read, too."""
    owner = User.objects.get(council_sessions=session_id)
    pins = SessionPack.objects.filter(councilsession=session_id, knowledgepack__in=readable_packs(owner).values("pk"))
    return [
        Source(pin.knowledgepack, pin.snapshot)
        for pin in pins.select_related("knowledgepack", "snapshot").order_by("pk")
    ]


def _hits(sources: Sequence[Source], query: str, k: int) -> list[Hit]:
    """Packs as they are now are searched together, each pinned snapshot by itself; then the best of all."""
    live = [source.pack for source in sources if source.snapshot is None]
    found = [search(live, query, limit=k)] if live else []
    found += [search([one.pack], query, limit=k, snapshot=one.snapshot) for one in sources if one.snapshot is not None]
    for result, packs in zip(
        found, [live] * bool(live) + [[s.pack] for s in sources if s.snapshot is not None], strict=True
    ):
        quality_log.record(packs, None, query, result.mode, result, "council")
    return sorted((hit for result in found for hit in result.hits), key=lambda hit: -hit.score)[:k]


def _evidence(n: int, hit: Hit) -> Evidence:
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
    )


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
    return re.sub(r"\s+([.,;])", r"\1", "".join([*pieces, text[last:]]))


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
