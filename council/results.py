"""What a seat said, made into what is stored of its turn: the same for a model's reply and for a person's."""

from __future__ import annotations

from typing import Any

from council import evidence
from council.budgets import Settlement
from council.context import Assignment, deliver
from council.deliberation.dialogues import Result
from council.deliberation.shelf import Shelf
from council.deliberation.types import Answer, Aside, Attack, Ballot, Dissent, Synthesis, TurnContext, Verdict
from council.orchestrator import Finished

Json = dict[str, Any]


def finished(
    result: Result, assignment: Assignment, settlement: Settlement | None = None, shelf: Shelf | None = None
) -> Finished:
    """With its citations checked, for which packs' embedding models may be asked: never inside a transaction. ``shelf``: what the
    seat was shown, where it could search for itself."""
    shelf = shelf or Shelf(assignment.context.evidence)
    context = assignment.context.model_copy(update={"evidence": shelf.evidence})
    shown = [item.model_dump(mode="json") for item in context.evidence]
    if isinstance(result, Ballot):
        return Finished({}, shown, _ballot(result, context), settlement)
    body = _body(result, assignment, context)
    if context.searches:
        body["searches"] = [one.model_dump(mode="json") for one in shelf.made]
    return Finished(body, shown, None, settlement)


def _ballot(ballot: Ballot, context: TurnContext) -> Json:
    return {
        "order": [candidate.id for candidate in context.candidates],
        "ranking": list(ballot.ranking),
        "scores": dict(ballot.scores),
        "abstain": ballot.abstain,
    }


def _body(
    result: Answer | Synthesis | Dissent | Attack | Verdict | Aside, assignment: Assignment, context: TurnContext
) -> Json:
    match result:
        case Answer():
            said = deliver(result, assignment).model_dump(mode="json")
            return {"answer": said, "citations": _checked(result.answer, context)}
        case Synthesis():
            return {"synthesis": result.model_dump(mode="json"), "citations": _checked(result.answer, context)}
        case Dissent():
            return {"dissent": result.model_dump(mode="json"), "citations": _checked(result.text, context)}
        case Attack():
            return {"attack": result.model_dump(mode="json"), "citations": _checked(result.text, context)}
        case Aside():
            return {"reply": result.model_dump(mode="json"), "citations": _checked(result.text, context)}
        case Verdict():
            return {"verdict": result.model_dump(mode="json")}


def _checked(text: str, context: TurnContext) -> list[Json]:
    """The text's own citations, so that watchers see at once what holds, and so that a recount needs no embedding model."""
    given = " ".join([context.question, *context.options])
    return [one.model_dump(mode="json") for one in evidence.checked(text, context.evidence, given)]
