"""One model asked without a council: once, or again and again until the budget is spent, with a vote.

It is asked exactly what a seat is asked in a council's opening, by the same words, passages, temperature and style, and its reply is
read by the same parser; what differs is the protocol alone. These calls belong to no session: they are neither recorded nor budgeted
there, and stand in the trial's own results.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from django.conf import settings

from council.conversation import most_tokens
from council.deliberation import dialogues
from council.deliberation.parsing import ReplyError
from council.deliberation.types import Answer, Evidence, Prompt, Stage, TurnContext, TurnKind
from council.endpoints import Model, route_for
from council.limits import Place
from council.llm import client
from council.llm.backoff import backoff
from council.llm.capability import style_for
from council.llm.errors import Cancelled, LlmError
from council.llm.types import ChatRequest, Reply, Usage
from council.trials.questions import Question, Said, vote
from council.trials.rows import Sample
from council.trials.stopping import Interrupted, Stop
from realtime.errors import Unavailable
from realtime.ids import uuid7

SAMPLES_MAX = 64  # of one vote: beyond, further answers of one model change next to nothing
FAILURES_MAX = 3  # in a row: the model is not there


def seed_of(*parts: object) -> int:
    """31 bits, as servers take them."""
    text = ":".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


@dataclass
class Spent:
    """What calls have cost, failed ones included. ``usd`` None: the price is unknown."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    calls: int = 0
    usd: Decimal | None = Decimal(0)

    def add(self, usage: Usage, model: Model) -> None:
        self.calls += 1
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.estimated |= usage.estimated
        if self.usd is not None:
            self.usd = self.usd + model.prices.of(usage) if model.prices else None

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass
class Subject:
    """A model before one question."""

    question: Question
    evidence: Sequence[Evidence]
    model: str  # "" = the default
    deadline_s: float  # of one call
    stop: Stop
    spent: Spent = field(default_factory=Spent)

    def ask(self, seed: int) -> Sample:
        """One answer, with as many attempts as a council's turn has."""
        before = self.spent.tokens
        outcome = self._attempts(seed)
        if isinstance(outcome, str):
            return Sample(reason=outcome, tokens=self.spent.tokens - before)
        said = Said(option=outcome.option, estimate=outcome.estimate, text=outcome.answer)
        return Sample(said=said, confidence=outcome.confidence, tokens=self.spent.tokens - before)

    def _attempts(self, seed: int) -> Answer | str:
        """The answer, or why there is none."""
        try:
            model = route_for(self.model)[0]
        except Unavailable as error:
            return f"{error.code}: {error.detail}"
        rng = random.Random(seed)  # noqa: S311  # spreads a herd; nothing secret
        for attempt in range(1, settings.TURN_MODEL_ERRORS_MAX + 1):
            try:
                return self._converse(model, seed_of(seed, attempt))
            except ReplyError as error:
                reason, wait = f"{error.code}: {error.detail}", 0.0
            except Cancelled:
                raise Interrupted from None
            except LlmError as error:
                reason = f"{error.code}: {error}"
                if not error.retryable:
                    break
                wait = backoff(attempt, error, rng)
            self.stop.wait(wait)
        return reason

    def _converse(self, model: Model, seed: int) -> Answer:
        question = self.question
        context = TurnContext(
            kind=TurnKind.ANSWER,
            stage=Stage.OPENING,
            question=question.question,
            options=question.options,
            evidence=tuple(self.evidence),
            scale=question.scale,
        )
        dialogue = dialogues.start(context, style_for(model.endpoint), seed)
        prompt = next(dialogue)
        while True:
            if not isinstance(prompt, Prompt):
                raise TypeError("a turn that was offered no searches makes none")
            reply = self._call(model, prompt, seed)
            seed += 1  # one seed for all calls of a dialogue would repeat its slips
            try:
                prompt = dialogue.send(reply.text)
            except StopIteration as end:
                if not isinstance(end.value, Answer):
                    raise TypeError(f"an opening ends with an answer, not {end.value!r}") from None
                return end.value

    def _call(self, model: Model, prompt: Prompt, seed: int) -> Reply:
        self.stop.check()
        limits = model.limits
        gate = Place(limits, uuid7(), most_tokens(prompt)) if limits.any else None
        timeout = min(self.deadline_s, model.timeout_s or self.deadline_s)
        call = client.submit(ChatRequest.of(prompt, model.endpoint, seed=seed, timeout_s=timeout), None, gate)
        with call, self.stop.watching(call.cancel):
            try:
                reply = call.result()
            except LlmError as error:
                self.spent.add(error.usage or Usage(0, 0, estimated=True), model)
                raise
        self.spent.add(reply.usage, model)
        return reply


class Vote(NamedTuple):
    said: Said | None
    confidence: float | None  # the share of answers that say what was voted for


def single(subject: Subject, seed: int, samples: int) -> list[Sample]:
    return [subject.ask(seed_of(seed, n)) for n in range(samples)]


def consistent(subject: Subject, seed: int, tokens: int) -> list[Sample]:
    """As many answers as fit into ``tokens``, at least one: another is asked for while the dearest so far would still fit."""
    samples: list[Sample] = []
    while len(samples) < SAMPLES_MAX:
        samples.append(subject.ask(seed_of(seed, len(samples))))
        dearest = max(one.tokens for one in samples)
        if subject.spent.tokens + dearest > tokens or _gone(samples):
            break
    return samples


def _gone(samples: Sequence[Sample]) -> bool:
    last = samples[-FAILURES_MAX:]
    return len(last) == FAILURES_MAX and all(one.said is None for one in last)


def count(question: Question, samples: Sequence[Sample]) -> Vote:
    """The vote over what was said (self-consistency: Wang et al., ICLR 2023)."""
    said = [one.said for one in samples if one.said is not None]
    chosen = vote(question, said)
    if chosen is None:
        return Vote(None, None)
    agreeing = sum(question.same(one, chosen) for one in said)
    return Vote(chosen, agreeing / len(said))


def within(samples: Sequence[Sample], tokens: int) -> list[Sample]:
    """The first of them that cost no more than ``tokens`` together; the first of all in any case."""
    kept, spent = list(samples[:1]), samples[0].tokens if samples else 0
    for one in samples[1:]:
        spent += one.tokens
        if spent > tokens:
            break
        kept.append(one)
    return kept
