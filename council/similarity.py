"""How near a statement is in meaning to the passage that it cites, by the embedding model of the cited entry's pack."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from council.deliberation.citations import Doubt
from knowledge.embeddings import Embedder, Vector, embedder_in
from knowledge.errors import EmbeddingError
from knowledge.models import EmbeddingSpace, EntryRevision, SpaceState

logger = logging.getLogger(__name__)


def scores(doubts: Iterable[Doubt]) -> dict[tuple[int, int], float]:
    """Cosine of each statement with the nearest sentence of its passage, −1 to 1, by (at, n).

    Doubts whose pack has no vectors, or whose model does not answer, are left out: words decide them, and the log tells why.
    """
    of_space: dict[EmbeddingSpace, list[Doubt]] = defaultdict(list)
    spaces: dict[str, EmbeddingSpace | None] = {}
    for doubt in doubts:
        if doubt.revision not in spaces:
            spaces[doubt.revision] = _space_of(doubt.revision)
        if (space := spaces[doubt.revision]) is not None:
            of_space[space].append(doubt)
    found: dict[tuple[int, int], float] = {}
    for space, some in of_space.items():
        try:
            found |= _compared(embedder_in(space), some)
        except EmbeddingError as error:
            logger.warning("citations are checked by their words alone: %s", error)
    return found


def _space_of(revision: str) -> EmbeddingSpace | None:
    """The space that the pack of the revision's entry is searched in; None when the entry was purged or nothing is embedded yet."""
    pack = EntryRevision.objects.filter(pk=revision).values("entry__pack")
    present = EmbeddingSpace.objects.filter(pack__in=pack, state=SpaceState.PRESENT)
    return present.select_related("embedding").first()


def _compared(embedder: Embedder, doubts: Sequence[Doubt]) -> dict[tuple[int, int], float]:
    """Statement and sentences are embedded alike, as passages: they are compared with each other and not asked for."""
    texts = list(dict.fromkeys(text for doubt in doubts for text in (doubt.statement, *doubt.sentences)))
    vectors = dict(zip(texts, embedder.embed_passages(texts), strict=True))
    return {(doubt.at, doubt.n): _nearest(vectors, doubt) for doubt in doubts}


def _nearest(vectors: dict[str, Vector], doubt: Doubt) -> float:
    nearest = max(float(np.dot(vectors[doubt.statement], vectors[sentence])) for sentence in doubt.sentences)
    return round(nearest, 4)
