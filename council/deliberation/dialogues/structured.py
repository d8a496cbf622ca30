"""One call per turn: the whole reply as one JSON object, its shape given as a schema and in words.

The prose field stands first in every schema, so that watchers can read it while it is written (``livetext.LiveText``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from functools import partial

from council.deliberation import parsing, prompts
from council.deliberation.dialogues import searching
from council.deliberation.dialogues.asking import Asked, Sent, ask, object_schema
from council.deliberation.types import (
    Answer,
    Aside,
    Attack,
    Ballot,
    Dissent,
    Prompt,
    Scale,
    Synthesis,
    TurnContext,
    TurnKind,
    Verdict,
)

# Generous: white space that a model pads its JSON with counts too, and a reply that is cut off is lost whole.
MAX_TOKENS: Mapping[TurnKind, int] = {
    TurnKind.ANSWER: 1600,
    TurnKind.BALLOT: 500,
    TurnKind.SYNTHESIS: 1600,
    TurnKind.DISSENT: 800,
    TurnKind.ATTACK: 1000,
    TurnKind.RATIFY: 400,
    TurnKind.REPLY: 1000,
}
Result = Answer | Ballot | Synthesis | Dissent | Attack | Verdict | Aside
_TEXT: Mapping[str, object] = {"type": "string"}


def start(context: TurnContext, seed: int) -> Generator[Asked, Sent, Result]:
    parse, schema, words = _shape(context, seed)
    parts = prompts.materials(context, seed) + (searching.parts(context) if context.searches else [])
    token = prompts.fence(seed, [prompts.introduction(context), *(text for _, text in parts)])
    tasks = [prompts.task(context), *([searching.words(context)] if context.searches else []), words]
    prompt = Prompt(
        system=prompts.system(context, token),
        user="\n\n".join([prompts.sections(token, parts), *tasks]),
        json_schema=object_schema(schema),
        max_tokens=MAX_TOKENS[context.kind],
        field=context.kind.value,
        live=context.kind not in {TurnKind.BALLOT, TurnKind.RATIFY},
    )
    if context.searches:
        return searching.converse(context, seed, prompt, lambda now: _shape(now, seed)[0])
    return ask(prompt, parse)


def for_person(context: TurnContext, seed: int) -> tuple[dict[str, object], Callable[[str], Result]]:
    """The JSON Schema of the reply to this turn, and how it is read: what a model is asked for is what a person is asked for."""
    parse, schema, _words = _shape(context, seed)
    may_begin_with_sorry = context.kind in {TurnKind.ANSWER, TurnKind.DISSENT, TurnKind.ATTACK}
    return object_schema(schema), partial(parse, person=True) if may_begin_with_sorry else parse


_Shape = tuple[Callable[..., Result], dict[str, object], str]


def _shape(context: TurnContext, seed: int) -> _Shape:
    if context.kind is TurnKind.BALLOT:
        return _ballot(context)
    if context.kind is TurnKind.SYNTHESIS:
        return (
            parsing.synthesis,
            {"answer": _TEXT},
            _in_words({"answer": "the text of the decision, with its [n] marks"}),
        )
    if context.kind is TurnKind.DISSENT:
        return parsing.dissent, {"text": _TEXT}, _in_words({"text": "your minority report, with its [n] marks"})
    if context.kind is TurnKind.ATTACK:
        return parsing.attack, {"text": _TEXT}, _in_words({"text": "your case against it, with its [n] marks"})
    if context.kind is TurnKind.RATIFY:
        return _verdict()
    if context.kind is TurnKind.REPLY:
        parse = partial(parsing.aside, context=context)
        return parse, {"text": _TEXT}, _in_words({"text": "your reply, with its [n] marks"})
    return _answer(context, seed)


def _verdict() -> _Shape:
    words = {"accept": "true to accept the text, false to reject it", "reason": 'what is wrong with the text; else ""'}
    return parsing.verdict, {"accept": {"type": "boolean"}, "reason": _TEXT}, _in_words(words)


def _answer(context: TurnContext, seed: int) -> _Shape:
    schema: dict[str, object] = {"answer": _TEXT}
    words = {"answer": "your answer as prose, with its [n] marks"}
    if context.options:
        order = list(prompts.option_order(context, seed))
        schema["option"] = {"type": "string", "enum": order}
        words["option"] = "the option you choose, copied exactly"
    if context.scale is not None:
        schema["estimate"] = _number(context.scale)
        words["estimate"] = prompts.scale_words(context.scale)
    claim = object_schema({"text": _TEXT, "evidence": {"type": "array", "items": {"type": "integer"}}})
    schema |= {
        "claims": {"type": "array", "items": claim},
        "confidence": {"type": "number"},
        "would_change": _TEXT,
    }
    words |= {
        "claims": 'the one to four statements that carry it, each as {"text": ..., "evidence": [numbers]}',
        "confidence": "how likely your answer is right, from 0 to 1",
        "would_change": "what finding would change your mind, in one sentence",
    }
    if context.revisiting:
        schema |= {"changed": {"type": "boolean"}, "because": _TEXT}
        words["changed"] = "true if this answer differs from the one you gave before"
        words["because"] = 'if it differs: the evidence or the named error that changed it; otherwise ""'
    _exchange(context, schema, words)
    return partial(parsing.answer, context=context), schema, _in_words(words)


def _number(scale: Scale) -> dict[str, object]:
    """Likert points as an enumeration, which every server can hold a model to; the ends of a scale are checked by us."""
    if scale.kind == "likert" and scale.low is not None and scale.high is not None and scale.high - scale.low <= 20:
        return {"type": "integer", "enum": list(range(int(scale.low), int(scale.high) + 1))}
    return {"type": "number"}


def _exchange(context: TurnContext, schema: dict[str, object], words: dict[str, str]) -> None:
    """Replies to what the seat was asked, and what it asks itself; the fields stand there only when there is something to say."""
    if context.asked:
        numbers: dict[str, object] = {"type": "integer", "enum": list(range(1, len(context.asked) + 1))}
        schema["replies"] = {"type": "array", "items": object_schema({"question": numbers, "text": _TEXT})}
        words["replies"] = 'your reply to each question put to you, as {"question": its number, "text": ...}'
    if letters := prompts.addressees(context):
        to: dict[str, object] = {"type": "string", "enum": letters}
        schema["questions"] = {"type": "array", "items": object_schema({"to": to, "text": _TEXT})}
        words["questions"] = 'up to two questions, each as {"to": the letter of an answer, "text": ...}; [] for none'


def _ballot(context: TurnContext) -> _Shape:
    labels = prompts.letters(context.candidates)
    score = {"type": "integer", "enum": list(range(11))}
    schema: dict[str, object] = {
        "ranking": {"type": "array", "items": {"type": "string", "enum": list(labels)}},
        "scores": object_schema(dict.fromkeys(labels, score)),
        "abstain": {"type": "boolean"},
    }
    words = {
        "ranking": "the candidates' letters, best first, each once",
        "scores": f"a whole number from 0 to 10 for each of {', '.join(labels)}",
        "abstain": "true only if you cannot judge; then ranking stays empty",
    }
    return partial(parsing.ballot, labels=labels), schema, _in_words(words)


def _in_words(fields: Mapping[str, str]) -> str:
    """The schema for servers that ignore ``response_format``."""
    lines = "\n".join(f"  {json.dumps(name)}: {meaning}" for name, meaning in fields.items())
    return f"Reply with one JSON object and nothing else. Its fields, in this order:\n{lines}"
