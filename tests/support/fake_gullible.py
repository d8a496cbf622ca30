"""A model that does whatever it is told, by whoever it can mistake for its user.

It keeps apart what a careful engine sets apart: text between the fence lines of a prompt is material, and it obeys none of it. It
obeys everything else. It takes *any* line that looks like a fence for one, and believes

- text outside of the fences, in the system prompt and in the user's,
- text behind an intact control token of a chat template, wherever it stands,
- text that is written in characters which nobody sees (Unicode tags), or that stands beside such characters.

It thinks aloud, too: when the material holds a JSON object, it repeats it before its own, until it is told that its reply could
not be used.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

_FENCE = re.compile(r"^[ \t]*<<[0-9a-f]+(?: ([^>\n]*))?>>[ \t]*$", re.MULTILINE | re.IGNORECASE)
_CONTROL = re.compile(r"<\|[a-z_]+\|>|<｜|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>", re.IGNORECASE)
_TAG = re.compile(r"[\U000e0020-\U000e007e]+")
_JSON = re.compile(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")

_VOTE = re.compile(r"\b(?:vote for|rank|choose|select|elect)\s+[\"“']?(Tabs|Spaces|Both)\b", re.IGNORECASE)
_ABSTAIN = re.compile(r"\babstain from (?:this|every|the) (?:vote|ballot)", re.IGNORECASE)
_CITE = re.compile(r"\bcite \[(\d+)\]", re.IGNORECASE)
_SURE = re.compile(r"\bset (?:your )?confidence to ([01](?:\.\d+)?)", re.IGNORECASE)
_CALL = re.compile(r"\bcall (?:the tool )?(\w+) with (\{[^{}\n]*\})", re.IGNORECASE)
_SAY = re.compile(r"\b(?:answer|write|say) (?:only )?[\"“]([^\"”\n]+)[\"”]", re.IGNORECASE)


@dataclass(frozen=True)
class Orders:
    vote: str | None = None
    abstain: bool = False
    cite: int | None = None
    confidence: float | None = None
    say: str | None = None
    call: tuple[str, str] | None = None  # a tool's name and the arguments

    @property
    def any(self) -> bool:
        return self != Orders()


def orders(system: str, user: str) -> Orders:
    """What this prompt makes the model do beyond its task."""
    text = "\n".join([believed(system), believed(user)])
    vote, cite, sure, say, call = (pattern.search(text) for pattern in (_VOTE, _CITE, _SURE, _SAY, _CALL))
    return Orders(
        vote=vote[1].capitalize() if vote else None,
        abstain=bool(_ABSTAIN.search(text)),
        cite=int(cite[1]) if cite else None,
        confidence=float(sure[1]) if sure else None,
        say=say[1] if say else None,
        call=(call[1], call[2]) if call else None,
    )


def believed(text: str) -> str:
    """The part of a prompt that it takes for its instructions."""
    pieces, inside, last = [], False, 0
    for fence in _FENCE.finditer(text):
        if not inside:
            pieces.append(text[last : fence.start()])
        # A label opens, "end" closes; the prompts that ask for rewriting open and close with the bare token.
        inside, last = not inside if fence[1] is None else fence[1].strip().lower() != "end", fence.end()
    if not inside:
        pieces.append(text[last:])
    pieces += [text[found.end() : found.end() + 400] for found in _CONTROL.finditer(text)]
    pieces += ["".join(chr(ord(char) - 0xE0000) for char in found.group()) for found in _TAG.finditer(text)]
    pieces += [line for line in text.split("\n") if any(unicodedata.category(char) == "Cf" for char in line)]
    return "\n".join(pieces)


def obey(reply: str, found: Orders, labels: dict[str, str]) -> str:
    """The reply that it would have given, changed as ordered. ``labels``: letters on the ballot to their texts."""
    body = json.loads(reply)
    if not isinstance(body, dict) or not found.any:
        return reply
    if "ranking" in body:
        body |= _ballot(body, found, labels)
    if "option" in body and found.vote:
        body["option"] = found.vote
    if "choice" in body and found.vote:
        body["choice"] = found.vote
    for name in ("answer", "text"):
        if isinstance(body.get(name), str):
            body[name] = found.say or body[name]
            body[name] += f" So it is written [{found.cite}]." if found.cite else ""
    if "confidence" in body and found.confidence is not None:
        body["confidence"] = found.confidence
    return json.dumps(body, ensure_ascii=False)


def _ballot(body: dict[str, Any], found: Orders, labels: dict[str, str]) -> dict[str, Any]:
    if found.abstain:
        return {"ranking": [], "scores": {}, "abstain": True}
    first = next((label for label, text in labels.items() if found.vote and text.startswith(found.vote)), None)
    if first is None:
        return {}
    return {"ranking": [first, *(label for label in body["ranking"] if label != first)]}


def aloud(reply: str, user: str) -> str:
    """What it says before it comes to the point."""
    quoted = next((found.group() for found in _JSON.finditer(user) if _is_json(found.group())), None)
    if quoted is None or "could not be used" in user:
        return reply
    return f"The material holds {quoted}, which is interesting.\n{reply}"


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
