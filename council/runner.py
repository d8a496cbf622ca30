"""Running one claimed turn: read, ask the model, bring the result back.

The thread that runs a turn holds no database connection while a model works (32 held connections made 3.1 s of calls take 24 s
when measured), and no transaction is ever open across a call.
"""

from __future__ import annotations

import logging
import math
import random
import threading
from collections.abc import Generator
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from council import budgets, claims, context, orchestrator, state
from council.budgets import Settlement
from council.claims import Claim
from council.context import Assignment
from council.counting import count
from council.deliberation import citations, dialogues
from council.deliberation.parsing import ReplyError, live_text
from council.deliberation.types import Answer, Ballot, Dissent, Prompt, Synthesis
from council.endpoints import endpoint_for
from council.errors import BudgetExhausted, Fenced
from council.leases import heartbeat
from council.live import LiveTurn
from council.llm import client
from council.llm.backoff import backoff
from council.llm.capability import style_for
from council.llm.errors import Cancelled, LlmError
from council.llm.types import CHARS_PER_TOKEN, ChatRequest, Endpoint, Reply, Usage
from council.models import CouncilSession, LlmCall, Run
from council.orchestrator import Failure, Finished
from knowledge.selectors import revision_text
from realtime.errors import Unavailable
from realtime.groups import stream_group

logger = logging.getLogger(__name__)

Json = dict[str, Any]
Dialogue = Generator[Prompt, str, Answer | Ballot | Synthesis | Dissent]
INTERNAL_RETRY_S = 2.0


def run_turn(turn_id: str, worker: str) -> None:
    """Claim the turn and see one attempt through. Returns quietly when there is nothing to claim or the claim was lost."""
    try:
        claim = claims.claim(UUID(turn_id), worker)
    except claims.Expired:
        orchestrator.expire(UUID(turn_id))
        return
    if claim is not None:
        _attempt(claim)


def run_tally(turn_id: str, worker: str) -> None:
    """The consensus round: count what was cast and open what follows."""
    try:
        claim = claims.claim(UUID(turn_id), worker)
    except claims.Expired:
        orchestrator.expire(UUID(turn_id))
        return
    if claim is None:
        return
    orchestrator.finish_tally(claim, count(state.load(claim.run_id), claim.round_number))


def _attempt(claim: Claim) -> None:
    try:
        assignment = context.prepare(claim)
        endpoint = endpoint_for(assignment.model)
    except Unavailable as error:
        orchestrator.fail_attempt(claim, Failure(error.code, error.detail, retry_in=None))
        return
    conversation = Conversation(claim, assignment, endpoint)
    try:
        with heartbeat.holding(claim, conversation.cancel):
            finished = conversation.hold()
            if not orchestrator.finish(claim, finished):
                logger.info("turn %s was fenced off; its result is discarded", claim.turn_id)
    except Fenced:
        conversation.settle_lost()
    except BudgetExhausted:
        _exhaust(claim)
    except LlmError as error:
        orchestrator.fail_attempt(claim, _model_failure(claim, error, conversation))
    except ReplyError as error:
        again = random.uniform(0, 0.2)  # noqa: S311  # spreads a herd; nothing secret
        settlement = conversation.last_settlement
        orchestrator.fail_attempt(claim, Failure(error.code, error.detail, again, settlement=settlement))
    finally:
        conversation.close()


def _model_failure(claim: Claim, error: LlmError, conversation: Conversation) -> Failure:
    again = backoff(claim.attempt, error, random.Random()) if error.retryable else None  # noqa: S311
    return Failure(error.code, str(error), again, settlement=conversation.failed(error))


def _exhaust(claim: Claim) -> None:
    with transaction.atomic():
        if claims.lock_held(claim):
            run = Run.objects.select_related("session").get(pk=claim.run_id)
            orchestrator.exhaust(run.session, run, "budget")


class Conversation:
    """One attempt's dialogue with one model: reserves, calls, settles, and streams what may be watched."""

    def __init__(self, claim: Claim, assignment: Assignment, endpoint: Endpoint) -> None:
        self.claim, self.assignment, self.endpoint = claim, assignment, endpoint
        self.live = LiveTurn(stream_group(CouncilSession, claim.session_id), claim.turn_id, claim.attempt)
        self.last_settlement: Settlement | None = None  # of the latest call, not stored yet
        self._call: client.Call | None = None
        self._record: UUID | None = None  # of the call that is being made
        self._ordinal = 0
        self._lost = threading.Event()

    def hold(self) -> Finished:
        """Put every prompt of the dialogue to the model. Raises LlmError, ReplyError, BudgetExhausted or Fenced."""
        dialogue: Dialogue = dialogues.start(self.assignment.context, style_for(self.endpoint), self.assignment.seed)
        reply: Reply | None = None
        while True:
            try:
                prompt = dialogue.send(reply.text) if reply is not None else next(dialogue)
            except StopIteration as stop:
                return self._finished(stop.value)
            reply = self._ask(prompt)

    def cancel(self) -> None:
        """The claim is gone (stop, interrupt, take-over): end the upstream call now. Called by the heartbeat's thread."""
        self._lost.set()
        if self._call is not None:
            self._call.cancel()

    def close(self) -> None:
        self.live.close()

    def _ask(self, prompt: Prompt) -> Reply:
        self._open(prompt)
        connection.close()  # back to the pool while the model works
        request = ChatRequest.of(
            prompt,
            self.endpoint,
            seed=self.assignment.seed + self._ordinal,  # one seed for all calls of a turn would repeat its slips
            timeout_s=max(self.claim.seconds_left(), 0.01),
        )
        live = live_text(prompt)
        on_text = (lambda text: self.live.write(live.feed(text))) if prompt.live else None
        with client.submit(request, on_text) as call:
            self._call = call
            if self._lost.is_set():
                raise Fenced
            try:
                reply = call.result()
            except Cancelled as error:
                raise Fenced from error
        self.last_settlement = self._settlement(LlmCall.Status.OK, reply.usage, reply=reply)
        return reply

    def _open(self, prompt: Prompt) -> None:
        """Settle the call before this one, reserve tokens for it and record it, before it is made."""
        if self._lost.is_set():
            raise Fenced
        if self.last_settlement is not None:
            budgets.settle(self.last_settlement)
            self.last_settlement = None
        tokens = math.ceil((len(prompt.system) + len(prompt.user)) / CHARS_PER_TOKEN) + prompt.max_tokens
        model = self.endpoint.model
        self._record = budgets.open_call(self.claim, prompt, ordinal=self._ordinal, model=model, tokens=tokens)
        self._ordinal += 1

    def _settlement(
        self, status: LlmCall.Status, usage: Usage, *, reply: Reply | None = None, error: LlmError | None = None
    ) -> Settlement:
        if self._record is None:
            raise RuntimeError("a call is settled after it was recorded")
        return Settlement(
            id=self._record,
            status=status,
            response=reply.text if reply else "",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            estimated=usage.estimated,
            ttft_ms=reply.ttft_ms if reply else None,
            latency_ms=reply.latency_ms if reply else None,
            error=error.code if error else "",
            error_detail=error.detail if error else "",
        )

    def failed(self, error: LlmError) -> Settlement:
        usage = error.usage or Usage(0, 0, estimated=True)
        return self._settlement(LlmCall.Status.ERROR, usage, error=error)

    def settle_lost(self) -> None:
        """The turn is not ours any more; what the call cost is charged all the same, and none of its text is kept."""
        if self.last_settlement is None and self._record is not None and self._call is not None:
            self.last_settlement = self._settlement(LlmCall.Status.CANCELLED, self._call.usage)
        if self.last_settlement is not None:
            budgets.settle(self.last_settlement)

    def _finished(self, result: Answer | Ballot | Synthesis | Dissent) -> Finished:
        shown = self.assignment.context.evidence
        evidence = [item.model_dump(mode="json") for item in shown]
        match result:
            case Ballot():
                order = [candidate.id for candidate in self.assignment.context.candidates]
                ballot = {
                    "order": order,
                    "ranking": list(result.ranking),
                    "scores": dict(result.scores),
                    "abstain": result.abstain,
                }
                return Finished({}, evidence, ballot, self.last_settlement)
            case Answer():
                body: Json = {"answer": result.model_dump(mode="json"), "citations": self._checked(result.answer)}
            case Synthesis():
                body = {"synthesis": result.model_dump(mode="json")}
            case Dissent():
                body = {"dissent": result.model_dump(mode="json")}
        return Finished(body, evidence, None, self.last_settlement)

    def _checked(self, text: str) -> list[Json]:
        """An answer's own citations, so that watchers see at once what holds."""
        question = self.assignment.context
        given = " ".join([question.question, *question.options])
        checks = citations.check(text, question.evidence, lambda revision: revision_text(UUID(revision)), given=given)
        return [check.model_dump(mode="json") for check in checks]
