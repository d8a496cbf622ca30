"""One turn as a conversation without input or output of its own.

``start`` gives a generator: it yields the :class:`Prompt` of one model call, is sent the reply, and returns the turn's result.
Where the turn may search (``TurnContext.searches``) it also yields a :class:`Search`, and is sent the passages found. Whoever drives
it owns models, packs, time, retries and the record; the dialogue owns words. A reply that is no valid turn is asked again once,
with the complaint; after that ``parsing.ReplyError`` ends the conversation, and a new one must be started.

``structured``  one call with a JSON schema, for capable models
``guided``      one short constrained question per field, for small ones
``searching``   structured, by a model that calls ``search_packs`` first
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

from council.deliberation.dialogues import guided, structured
from council.deliberation.dialogues.asking import Asked, Sent
from council.deliberation.dialogues.structured import Result, for_person
from council.deliberation.types import TurnContext, TurnKind

Style = Literal["structured", "guided"]
Dialogue = Generator[Asked, Sent, Result]

__all__ = ["Asked", "Dialogue", "Result", "Sent", "Style", "for_person", "start"]


def start(context: TurnContext, style: Style, seed: int) -> Dialogue:
    """Begin the conversation of one turn. The same context, style, seed and replies give the same prompts and result.

    Raises ValueError for a tally, which no model computes, for a ballot without candidates, a dissent without a position, an
    attack on nothing, a verdict on no text, a reply to no question, and for a guided turn that may search, for small models call
    no tools.
    """
    if context.kind is TurnKind.TALLY:
        raise ValueError("a tally is computed, not asked for")
    if context.kind is TurnKind.BALLOT and not context.candidates:
        raise ValueError("a ballot needs candidates")
    if context.kind is TurnKind.DISSENT and context.own is None:
        raise ValueError("a dissent needs the seat's own position")
    if context.kind is TurnKind.ATTACK and context.winner is None:
        raise ValueError("an attack needs a leading answer")
    if context.kind is TurnKind.RATIFY and not context.draft:
        raise ValueError("a verdict needs the text that it is about")
    if context.searches and style == "guided":
        raise ValueError("a guided turn does not search")
    if context.kind is TurnKind.REPLY and not context.asked:
        raise ValueError("a reply needs the question")
    return guided.start(context, seed) if style == "guided" else structured.start(context, seed)
