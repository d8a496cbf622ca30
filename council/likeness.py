"""Which open answers say the same, asked of the built-in embedding model before a round is counted.

Always the built-in one, whatever packs are searched with: the threshold was measured with it. What it said is stored with the
count (``deliberation.merging``), so that a recount needs no model.
"""

from __future__ import annotations

import logging
from uuid import UUID

from council import counting, sql, state
from council.deliberation import citations, merging
from council.deliberation.types import Merging, RunState
from knowledge.embeddings import built_in
from knowledge.errors import EmbeddingError

logger = logging.getLogger(__name__)

_OPEN_QUESTION = """
    SELECT round.run_id, round.number FROM council_turn AS turn JOIN council_round AS round ON round.id = turn.round_id
    JOIN council_councilsession AS session ON session.id = turn.session_id
    WHERE turn.id = %s AND session.options = '[]'
"""


def before_count(turn_id: UUID) -> Merging | None:
    """For a tally turn; None where there is nothing to merge. Outside of transactions: a model is slow. Nothing that is compared can
    change any more, for a tally is asked for once every answer of its round is there."""
    found = sql.row(_OPEN_QUESTION, [turn_id])
    return compare(state.load(found[0]), found[1]) if found else None


def compare(run: RunState, number: int) -> Merging | None:
    texts = counting.to_compare(run, number)
    threshold = run.protocol.merge_at
    if not texts or threshold is None:
        return None
    model = built_in()
    try:
        vectors = model.embed_passages([citations.strip_marks(text) for text in texts])
    except EmbeddingError as error:
        # Answers in the same words are one all the same; the record says that nobody compared their meaning.
        logger.warning("open answers are not compared by meaning: %s", error)
        return Merging(model="", threshold=threshold)
    scores = {(i, j): float(vectors[i] @ vectors[j]) for i, j in merging.every_pair(len(texts))}
    undone = merging.undone(round_.tally.merging for round_ in run.rounds if round_.tally)
    return merging.compare(texts, scores, model=model.model, threshold=threshold, undone=undone)
