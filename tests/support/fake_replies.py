"""What the fake models say: deterministic, schema-valid, and plausible enough for a council to reach a decision.

A model *prefers*: options and candidates are ordered by a hash of (model, system prompt, text), so seats differ from
each other, and one seat stays with its opinion through opening, debate and ballot. Prose quotes the first passage of
the numbered evidence verbatim and cites it as [1], so that citations verify.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.support.fake_rules import Behaviour

Schema = dict[str, Any]

_EVIDENCE = re.compile(
    r"^[ \t>*-]*\[(\d+)\][ \t]*(.+?)(?=^[ \t>*-]*\[\d+\]|^[ \t]*$|^[ \t]*<|\Z)", re.MULTILINE | re.DOTALL
)
_SENTENCE = re.compile(r"[^.!?\n]{20,240}[.!?]")
_STANCES = (
    "Taken together this makes the cautious course the better one.",
    "The costs of waiting weigh more than the risks of acting.",
    "What speaks against it is weaker than it first appears.",
    "A smaller first step would show whether this holds here.",
    "The benefit is real, but it comes later than hoped.",
)
_MAX_DEPTH = 8


def _digest(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest())


@dataclass
class Speaker:
    """One model answering one prompt."""

    model: str
    system: str
    user: str
    seed: int | None
    behaviour: Behaviour
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(_digest(self.seed, self.model, self.system, self.user))

    def say(self, schema: Schema | None) -> str:
        if self.behaviour.reply is not None:
            return self.behaviour.reply
        if self.behaviour.empty:
            return ""
        if schema is None:
            return self.prose()
        if self.behaviour.wrong_schema:
            return json.dumps({"unexpected": self.prose()})
        text = json.dumps(Instance(self, schema).build(), ensure_ascii=False)
        return text[: len(text) // 2] if self.behaviour.malformed == "text" else text

    def prose(self) -> str:
        stance = self.rng.choice(_STANCES)
        if not self.evidence:
            return f"There is little to go on here, so this is a judgement. {stance}"
        number, passage = self.evidence[0]
        return f'The record says: "{quote(passage)}" [{number}]. {stance}'

    @cached_property
    def evidence(self) -> list[tuple[int, str]]:
        return [(int(number), text.strip()) for number, text in _EVIDENCE.findall(self.user)]

    def prefer(self, choices: list[Any]) -> list[Any]:
        """The choices, most preferred first."""
        texts = {str(choice): self._text_of(str(choice)) for choice in choices}
        if self.behaviour.option is not None:
            by_text = sorted(choices, key=lambda choice: texts[str(choice)])
            first = by_text[(self.behaviour.option - 1) % len(by_text)]
            return [first, *(choice for choice in by_text if choice != first)]
        return sorted(choices, key=lambda choice: _digest(self.model, self.system, texts[str(choice)]))

    def _text_of(self, label: str) -> str:
        """What a label such as ``o2`` stands for in the prompt, so that ids and texts are liked alike."""
        if len(label) > 4:
            return label
        found = re.search(rf"^\W*{re.escape(label)}\W+(\S.*)$", self.user, re.MULTILINE)
        return found.group(1).strip() if found else label


def quote(passage: str) -> str:
    """A whole sentence of the passage's last paragraph, verbatim; its first line is often a heading."""
    body = passage.split("\n", 1)[-1]
    found = _SENTENCE.search(body) or _SENTENCE.search(passage)
    return found.group().strip() if found else " ".join(body.split(" ")[:12]).strip()


class Instance:
    """An instance of a JSON Schema: the keywords that our prompts and pydantic produce, not the whole of the
    standard.
    """

    def __init__(self, speaker: Speaker, schema: Schema) -> None:
        self.speaker = speaker
        self.rng = speaker.rng
        self.schema = schema
        self.ranking: list[str] = []  # of this very instance, so that scores agree with it

    def build(self) -> Any:
        return self.value(self.schema, "", 0)

    def value(self, schema: Schema, name: str, depth: int) -> Any:
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._choice(schema["enum"])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = self._kind(kind, name)
        make = getattr(self, f"_{kind}")
        return make(schema, name, depth)

    def _kind(self, kinds: list[str], name: str) -> str:
        rest = [kind for kind in kinds if kind != "null"]
        return rest[0] if rest and not self._prefers_null(name) else "null"

    def _prefers_null(self, name: str) -> bool:
        return name == "changed_because"  # nobody changes a mind unless told to

    def _resolve(self, schema: Schema) -> Schema:
        while True:
            if "$ref" in schema:
                target: Any = self.schema
                for part in schema["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
                schema = target
            elif branches := schema.get("anyOf") or schema.get("oneOf"):
                solid = [branch for branch in branches if branch.get("type") != "null"]
                schema = (solid or branches)[0]
            elif "allOf" in schema:
                schema = {k: v for part in schema["allOf"] for k, v in self._resolve(part).items()}
            else:
                return schema

    def _choice(self, choices: list[Any]) -> Any:
        real = [choice for choice in choices if choice is not None]
        return self.speaker.prefer(real)[0] if real else None

    def _null(self, _schema: Schema, _name: str, _depth: int) -> None:
        return None

    def _boolean(self, _schema: Schema, name: str, _depth: int) -> bool:
        return self.speaker.behaviour.abstain if name == "abstain" else self.rng.random() < 0.5

    def _integer(self, schema: Schema, name: str, _depth: int) -> int:
        if "evidence" in name and self.speaker.evidence:
            return self.speaker.evidence[0][0]
        low, high = _bounds(schema, 0, 10, whole=True)
        if name in self.ranking:
            place = self.ranking.index(name) / max(1, len(self.ranking) - 1)
            return round(high - place * (high - low))
        return self.rng.randint(int(low), int(high))

    def _number(self, schema: Schema, name: str, _depth: int) -> float:
        low, high = _bounds(schema, 0, 1, whole=False)
        wanted = self.speaker.behaviour.confidence
        share = wanted if name == "confidence" and wanted is not None else self.rng.uniform(0.55, 0.9)
        return round(low + share * (high - low), 2)

    def _string(self, schema: Schema, _name: str, _depth: int) -> str:
        text = self.speaker.prose()
        return text[: schema.get("maxLength", len(text))]

    def _array(self, schema: Schema, name: str, depth: int) -> list[Any]:
        items = self._resolve(schema.get("items", {"type": "string"}))
        low = schema.get("minItems", 0)
        if "enum" in items:
            return self._ranked(items["enum"], schema, name)
        if depth >= _MAX_DEPTH:
            return []
        wanted = min(max(low, 1), schema.get("maxItems", max(low, 1)))
        return [self.value(items, name, depth + 1) for _ in range(wanted)]

    def _ranked(self, choices: list[Any], schema: Schema, name: str) -> list[Any]:
        """Evidence numbers: the first; anything else from an enum: all of it, best first."""
        if "evidence" in name or "citation" in name:
            return [min(choices)]
        if name == "ranking" and self.speaker.behaviour.abstain and not schema.get("minItems"):
            return []
        ordered = self.speaker.prefer(list(choices))[: schema.get("maxItems", len(choices))]
        self.ranking = [str(choice) for choice in ordered]
        return ordered

    def _object(self, schema: Schema, _name: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        names = [name for name in properties if depth < _MAX_DEPTH or name in required]
        # Scores after the ranking, whatever order the schema has, and the answer in the schema's order.
        made = {name: self.value(properties[name], name, depth + 1) for name in sorted(names, key="scores".__eq__)}
        return {name: made[name] for name in names}


def _bounds(schema: Schema, low: float, high: float, *, whole: bool) -> tuple[float, float]:
    step = 1 if whole else 1e-3
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else low)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else max(high, low))
    return low, high
