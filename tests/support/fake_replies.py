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

from tests.support import fake_gullible
from tests.support.fake_rules import Behaviour

Schema = dict[str, Any]

# The fenced material that deliberation.prompts writes, and any other numbered list.
_SECTION = re.compile(r"^<<[0-9a-f]+ ?([^>\n]*)>>\n(.*?)(?=^<<)", re.MULTILINE | re.DOTALL)
_PLAIN = re.compile(r"^\[(\d+)\][ \t]*(.+?)(?=^\[\d+\]|^[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_TOKEN = re.compile(r"\b[0-9a-f]{8}\b")  # fences differ from turn to turn, opinions must not
_SENTENCE = re.compile(r"[^.!?\n#|\s][^.!?\n]{20,240}[.!?](?=\s|$)")
_MARK = re.compile(r"\s*\[\d+\]")
_CITING = re.compile(r"[^.!?\n]{10,200}\[\d{1,2}\]")
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
        if self.behaviour.gullible:
            return self._gullibly(text)
        return text[: len(text) // 2] if self.behaviour.malformed == "text" else text

    def _pick(self) -> tuple[int, str]:
        """What to quote: the first passage; a gullible model likes one best that cites something itself."""
        citing = ((n, found.group()) for n, text in self.evidence if (found := _CITING.search(text)))
        return next(citing, self.evidence[0]) if self.behaviour.gullible else self.evidence[0]

    def _gullibly(self, text: str) -> str:
        candidates = {name[10:]: text for name, text in self.sections if name.startswith("candidate ")}
        obeyed = fake_gullible.obey(text, fake_gullible.orders(self.system, self.user), candidates)
        return fake_gullible.aloud(obeyed, self.user) if '"choice"' not in obeyed else obeyed

    def prose(self, lead: str = "") -> str:
        stance = self.rng.choice(_STANCES)
        if "re-writing" in self.system:  # guided turns ask for nothing but the given text in other words
            return quote(self.material) or stance
        if not self.evidence:
            return f"{lead}{quote(self.material) or 'There is little to go on here, so this is a judgement.'} {stance}"
        number, passage = self._pick()
        left, right = ("“", "”") if '"' in passage else ('"', '"')
        return f"{lead}The record says: {left}{quote(passage)}{right} [{number}] {stance}"

    @cached_property
    def sections(self) -> list[tuple[str, str]]:
        """(label, text) of the fenced material."""
        return [(label, text.strip()) for label, text in _SECTION.findall(self.user)]

    @cached_property
    def evidence(self) -> list[tuple[int, str]]:
        """(number, passage), without the line that names the source."""
        fenced = [
            (int(label[10:-1]), text.split("\n", 1)[-1])
            for label, text in self.sections
            if label.startswith("evidence [")
        ]
        return fenced or [(int(n), text.strip()) for n, text in _PLAIN.findall(self.user)]

    @property
    def question(self) -> str:
        return next((text for label, text in self.sections if label == "question"), "")

    @property
    def material(self) -> str:
        """The unnumbered text that a guided turn works on."""
        return next((text for label, text in self.sections if label in {"", "text"}), "")

    @property
    def outcome(self) -> str:
        return next((text for label, text in self.sections if label in {"the council's outcome", "outcome"}), "")

    def prefer(self, choices: list[Any]) -> list[Any]:
        """The choices, most preferred first."""
        if set(choices) == {"keep", "change"}:
            return ["keep", "change"]  # nobody changes a mind unless told to
        if self.behaviour.confidence is not None and "very sure" in choices:
            return ["very sure", *(choice for choice in choices if choice != "very sure")]
        texts = {choice: self._meaning(str(choice)) for choice in choices}
        if self.behaviour.competence is not None and (first := self._known(texts)) is not None:
            return [first, *(choice for choice in choices if choice != first)]
        if self.behaviour.option is not None:
            by_text = sorted(choices, key=texts.__getitem__)
            first = by_text[(self.behaviour.option - 1) % len(by_text)]
            return [first, *(choice for choice in by_text if choice != first)]
        character = _TOKEN.sub("", self.system.split("\n\nRules", 1)[0])
        return sorted(choices, key=lambda choice: _digest(self.model, character, texts[choice]))

    def _known(self, texts: dict[Any, str]) -> Any:
        """The choice of a model of a certain competence, None where the key says nothing of these choices."""
        question = next((text for label, text in self.sections if label == "question"), "")
        right = self.behaviour.key.get(question)
        wrong = sorted(choice for choice, text in texts.items() if text != right)
        found = next((choice for choice, text in texts.items() if text == right), None)
        if found is None or not wrong:
            return None
        own = next((text for label, text in self.sections if label == "your own answer so far"), "")
        held = [choice for choice, text in texts.items() if own.startswith((f"{text}:", f"{text}."))]
        if held and self.behaviour.fresh:
            return held[0]
        drawn = random.Random(_digest(self.model, question, self.seed if self.behaviour.fresh else ""))
        competent = drawn.random() * 100 < (self.behaviour.competence or 0)
        return found if competent else min(wrong, key=lambda choice: _digest(self.model, question, texts[choice]))

    def _meaning(self, label: str) -> str:
        """What a label such as ``B`` stands for in the prompt, so that options and candidates are liked alike."""
        if not re.fullmatch(r"[A-Z]{1,2}|[oa]\d+", label):
            return label
        for name, text in self.sections:
            if name == f"candidate {label}":
                return text
        found = re.search(rf"^[ \t-]*{label}[).:][ \t]*(\S.*)$", self.user, re.MULTILINE)
        return found.group(1).strip() if found else label


def quote(passage: str) -> str:
    """A whole sentence of the passage, verbatim, or its first words."""
    found = _SENTENCE.search(passage)
    return found.group().strip() if found else " ".join(passage.split()[:12])


class Instance:
    """An instance of a JSON Schema: the keywords that our prompts and pydantic produce, not the whole of the
    standard.
    """

    def __init__(self, speaker: Speaker, schema: Schema) -> None:
        self.speaker = speaker
        self.rng = speaker.rng
        self.schema = schema
        self.lead = f"{_MARK.sub('', speaker.outcome)}\n\n" if speaker.outcome else ""

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
        if name == "accept":
            return not self.speaker.behaviour.reject
        return self.speaker.behaviour.abstain if name == "abstain" else False

    def _integer(self, schema: Schema, name: str, _depth: int) -> int:
        if "evidence" in name and self.speaker.evidence:
            return self.speaker.evidence[0][0]
        low, high = _bounds(schema, 0, 10, whole=True)
        return self.rng.randint(int(low), int(high))

    def _number(self, schema: Schema, name: str, _depth: int) -> float:
        if name == "estimate" and self.speaker.behaviour.estimate is not None:
            return float(self.speaker.behaviour.estimate)
        low, high = _bounds(schema, 0, 1, whole=False)
        wanted = self.speaker.behaviour.confidence
        share = wanted if name == "confidence" and wanted is not None else self.rng.uniform(0.55, 0.9)
        return round(low + share * (high - low), 2)

    def _string(self, schema: Schema, name: str, _depth: int) -> str:
        text = self.speaker.prose(self.lead if name == "answer" else "")
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
        return self.speaker.prefer(list(choices))[: schema.get("maxItems", len(choices))]

    def _object(self, schema: Schema, _name: str, depth: int) -> dict[str, Any]:
        properties = {key: self._resolve(value) for key, value in schema.get("properties", {}).items()}
        if properties and all(_is_score(value) for value in properties.values()):
            return self._scores(properties)
        names = [name for name in properties if depth < _MAX_DEPTH or name in schema.get("required", [])]
        if "option" in names:
            self.lead = f"{self.value(properties['option'], 'option', depth + 1)}. "
        return {name: self.value(properties[name], name, depth + 1) for name in names}

    def _scores(self, properties: dict[str, Schema]) -> dict[str, int]:
        """From 9 for the most preferred downwards, evenly, so that scores agree with rankings."""
        order = self.speaker.prefer(list(properties))
        step = 8 / max(1, len(order) - 1)
        return {name: round(9 - step * order.index(name)) for name in properties}


def _is_score(schema: Schema) -> bool:
    return bool(schema.get("enum")) and all(isinstance(choice, int) for choice in schema["enum"])


def _bounds(schema: Schema, low: float, high: float, *, whole: bool) -> tuple[float, float]:
    step = 1 if whole else 1e-3
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else low)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else max(high, low))
    return low, high
