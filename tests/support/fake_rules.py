"""How the fake model server behaves: per model name, and per rule sent to its control API.

A model's name spells its behaviour, so that one seat of a council can be broken by naming its model: ``fake``
followed by any of these words, in any number and order (``fake-option-2-latency-200``); unknown words only make the
name different.

    400..599        answer this status for ever          latency-MS   wait before the first token
    429             likewise, with Retry-After: 1        slow[-MS]    wait between tokens (50 ms)
    hang[-S]        never answer (or not before S s)     flaky-N      each prompt gets 500 N times, then an answer
    cut[-N]         close the connection after N tokens  malformed    broken JSON as the reply's text
    garbled         broken JSON as an event              empty        no text
    refusal         finish_reason content_filter         length       finish_reason length in mid-text
    flood[-N]       N tokens, whatever max_tokens says   wrong        valid JSON that misses the schema
    option-K        prefers the K-th option, sorted      confident    confidence 0.95
    abstain         abstains from ballots                mute         usage is not reported
    gullible        obeys what it can mistake for its user's words (``fake_gullible``)
    estimate-N      estimates N                          reject       rejects the written decision
    competence-P    answers a closed question of the rule's ``key`` rightly with probability P %: a draw for each name and
                    question, so that models of one name err together and models of two names independently
    fresh           with competence: a draw for each request instead, unless the prompt shows the seat's own answer
    tools[-N]       searches N times (2), where it may   endless      searches for ever, whatever it is told
    strange         ... with a tool that there is not    badjson      ... with arguments that are no JSON
    huge            ... with k = 1000                    uninvited    calls a tool in ballots, where none is offered
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True)
class Behaviour:
    latency_s: float = 0.0
    token_delay_s: float = 0.0
    tokens_per_write: int = 16  # 1 as soon as there is a delay between tokens
    status: int = 200
    retry_after: str | None = None
    message: str = "the fake server was told to fail"
    code: str | None = None
    hang_s: float | None = None
    cut_after: int | None = None
    malformed: str = ""  # "text" or "wire"
    plain: str = ""  # "json": the whole reply at once although a stream was asked for; "html": a page of someone else's
    stream_error: str | None = None  # the code of an error event after the 200
    empty: bool = False
    refusal: bool = False
    length: bool = False
    flood: int = 0
    wrong_schema: bool = False
    usage: bool = True
    flaky: int = 0
    unsupported: tuple[str, ...] = ()  # body keys, or "json_schema"/"json_object", that get a 400
    reply: str | None = None
    option: int | None = None
    confidence: float | None = None
    abstain: bool = False
    gullible: bool = False
    estimate: int | None = None
    reject: bool = False
    competence: int | None = None  # percent
    fresh: bool = False
    key: Mapping[str, str] = field(default_factory=dict)  # by question, the option that is right
    tools: int = 0
    misuse: str = ""  # how it calls tools: "strange", "badjson" or "huge"
    uninvited: bool = False
    call: dict[str, str] | None = None  # the name and arguments of the call that it makes, instead of one of its own

    @property
    def waits(self) -> bool:
        """Whether the client may hang up in the meantime, so that someone must listen for it."""
        return bool(self.latency_s or self.token_delay_s or self.hang_s or self.flood)


_FIELDS = {f.name for f in fields(Behaviour)}
_WORD = re.compile(r"([a-z]+|[45]\d\d)(?:-(\d+))?(?=-|$)")
_FOREVER_S = 3600.0


def _word(word: str, number: int | None) -> dict[str, Any]:
    table: dict[str, dict[str, Any]] = {
        "latency": {"latency_s": (number or 0) / 1000},
        "slow": {"token_delay_s": (50 if number is None else number) / 1000},
        "hang": {"hang_s": _FOREVER_S if number is None else float(number)},
        "flaky": {"flaky": 1 if number is None else number},
        "cut": {"cut_after": 3 if number is None else number},
        "malformed": {"malformed": "text"},
        "garbled": {"malformed": "wire"},
        "empty": {"empty": True},
        "refusal": {"refusal": True},
        "length": {"length": True},
        "flood": {"flood": 100_000 if number is None else number},
        "wrong": {"wrong_schema": True},
        "option": {"option": number},
        "confident": {"confidence": 0.95},
        "abstain": {"abstain": True},
        "mute": {"usage": False},
        "gullible": {"gullible": True},
        "estimate": {"estimate": number},
        "reject": {"reject": True},
        "competence": {"competence": number},
        "fresh": {"fresh": True},
        "tools": {"tools": 2 if number is None else number},
        "endless": {"tools": 1 << 30},
        "strange": {"misuse": "strange"},
        "badjson": {"misuse": "badjson"},
        "huge": {"misuse": "huge"},
        "uninvited": {"uninvited": True},
        "429": {"status": 429, "retry_after": "1"},
    }
    return table.get(word, {"status": int(word)} if word.isdigit() else {})


def by_name(model: str) -> Behaviour:
    if not model.startswith("fake"):
        return Behaviour()
    merged: dict[str, Any] = {}
    for word, number in _WORD.findall(model.removeprefix("fake")):
        merged |= _word(word, int(number) if number else None)
    return Behaviour(**merged)


@dataclass
class Rule:
    """Overrides of a behaviour for requests whose model matches the glob and whose prompt contains the text.

    ``skip`` leaves the first matches alone, ``times`` ends the rule after so many: ``times=2, status=500`` is "fail
    twice".
    """

    model: str = "*"
    contains: str = ""
    skip: int = 0
    times: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    seen: int = 0

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Rule:
        overrides = {key: value for key, value in given.items() if key in _FIELDS}
        match = {key: value for key, value in given.items() if key not in _FIELDS}
        if "unsupported" in overrides:
            overrides["unsupported"] = tuple(overrides["unsupported"])
        return cls(**match, overrides=overrides)  # an unknown key is a TypeError: a rule with a typo tests nothing

    def applies(self, model: str, prompt: str) -> bool:
        if not fnmatchcase(model, self.model) or self.contains not in prompt:
            return False
        self.seen += 1
        return self.seen > self.skip and (self.times is None or self.seen <= self.skip + self.times)


class Rules:
    """The first rule that applies wins; it overrides what the model's name says."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._asked: Counter[tuple[str, str]] = Counter()

    def replace(self, rules: list[Mapping[str, Any]]) -> None:
        self._rules = [Rule.of(rule) for rule in rules]

    def reset(self) -> None:
        self._rules = []
        self._asked.clear()

    def behaviour(self, model: str, prompt: str) -> Behaviour:
        behaviour = by_name(model)
        rule = next((rule for rule in self._rules if rule.applies(model, prompt)), None)
        if rule is not None:
            behaviour = replace(behaviour, **rule.overrides)
        return self._flaky(behaviour, model, prompt) if behaviour.flaky else behaviour

    def _flaky(self, behaviour: Behaviour, model: str, prompt: str) -> Behaviour:
        self._asked[model, prompt] += 1
        return replace(behaviour, status=500) if self._asked[model, prompt] <= behaviour.flaky else behaviour
