"""One attempt's dialogue with one model. It never waits: whoever drives it hands replies on as they come (``runner``)."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from council import budgets
from council.budgets import NewCall, Settlement
from council.claims import Claim
from council.context import Assignment, deliver
from council.deliberation import citations, dialogues
from council.deliberation.dialogues import Dialogue, Result
from council.deliberation.parsing import live_text
from council.deliberation.types import Answer, Attack, Ballot, Dissent, Prompt, Synthesis, Verdict
from council.errors import Fenced
from council.live import LiveTurn
from council.llm import client
from council.llm.capability import style_for
from council.llm.errors import Cancelled, LlmError
from council.llm.types import CHARS_PER_TOKEN, ChatRequest, Endpoint, Reply, Usage
from council.models import CouncilSession, LlmCall
from council.orchestrator import Finished
from knowledge.selectors import revision_text
from realtime.groups import stream_group

Json = dict[str, Any]


class Conversation:
    """Knows what to ask next, asks it, and streams what may be watched.

        advance ─▶ Prompt ─▶ call_for, recorded in a transaction ─▶ submit, outside of any ─▶ … it ends … ─▶ advance ─▶ … ─▶ Finished

    ``cancel`` may come from another thread at any moment.
    """

    def __init__(self, claim: Claim, assignment: Assignment, endpoint: Endpoint) -> None:
        self.claim, self._assignment, self._endpoint = claim, assignment, endpoint
        self._dialogue: Dialogue = dialogues.start(assignment.context, style_for(endpoint), assignment.seed)
        self._live = LiveTurn(stream_group(CouncilSession, claim.session_id), claim.turn_id, claim.attempt)
        self.last_settlement: Settlement | None = None  # of the latest call, not stored yet
        self._call: client.Call | None = None
        self._record: UUID | None = None  # of the call that is being made
        self._ordinal = 0
        self._lost = threading.Event()

    def advance(self) -> Prompt | Finished:
        """Take the reply of the call that ended, if there was one, and say what comes next.

        Raises LlmError, ReplyError, or Fenced when the claim was lost meanwhile.
        """
        try:
            if self._call is None:
                return next(self._dialogue)
            return self._dialogue.send(self._take_reply(self._call).text)
        except StopIteration as stop:
            return self._finished(stop.value)

    def _take_reply(self, call: client.Call) -> Reply:
        try:
            reply = call.result()
        except Cancelled as error:
            raise Fenced from error
        self.last_settlement = self._settlement(LlmCall.Status.OK, reply.usage, reply=reply)
        self._call = None
        return reply

    def call_for(self, prompt: Prompt) -> NewCall:
        """What is to be reserved and recorded before the prompt may be submitted."""
        tokens = math.ceil((len(prompt.system) + len(prompt.user)) / CHARS_PER_TOKEN) + prompt.max_tokens
        return NewCall(self.claim, prompt, self._ordinal, self._endpoint.model, tokens)

    def submit(self, prompt: Prompt, record: UUID, ended: Callable[[], None]) -> None:
        """Make the call that was recorded as ``record``, once ``last_settlement`` is stored. ``ended`` is called when it is over,
        from whichever thread ends it."""
        self.last_settlement, self._record = None, record
        live = live_text(prompt)
        request = ChatRequest.of(
            prompt,
            self._endpoint,
            seed=self._assignment.seed + self._ordinal,  # one seed for all calls of a turn would repeat its slips
            timeout_s=max(self.claim.seconds_left(), 0.01),
        )
        self._ordinal += 1
        on_text = (lambda text: self._live.write(live.feed(text))) if prompt.live else None
        self._call = client.submit(request, on_text)
        if self._lost.is_set():
            self._call.cancel()
        self._call.add_done_callback(ended)

    def cancel(self) -> None:
        """The claim is gone (stop, interrupt, take-over): end the upstream call now. Called by the heartbeat's thread."""
        self._lost.set()
        if (call := self._call) is not None:
            call.cancel()

    def close(self) -> None:
        """Nothing is called or streamed after this returns."""
        if self._call is not None:
            self._call.cancel()
        self._live.close()

    def failed(self, error: LlmError) -> Settlement:
        usage = error.usage or Usage(0, 0, estimated=True)
        return self._settlement(LlmCall.Status.ERROR, usage, error=error)

    def settle_lost(self) -> None:
        """The turn is not ours any more; what the call cost is charged all the same, and none of its text is kept."""
        if self.last_settlement is None and self._record is not None:
            usage = self._call.usage if self._call is not None else Usage(0, 0, estimated=False)
            self.last_settlement = self._settlement(LlmCall.Status.CANCELLED, usage)
        if self.last_settlement is not None:
            budgets.settle([self.last_settlement])

    def _settlement(
        self, status: LlmCall.Status, usage: Usage, *, reply: Reply | None = None, error: LlmError | None = None
    ) -> Settlement:
        if self._record is None:
            raise RuntimeError("a call is settled after it was recorded")
        return Settlement(
            id=self._record,
            status=status,
            response=_storable(reply.text) if reply else "",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            estimated=usage.estimated,
            ttft_ms=reply.ttft_ms if reply else None,
            latency_ms=reply.latency_ms if reply else None,
            error=error.code if error else "",
            error_detail=error.detail if error else "",
        )

    def _finished(self, result: Result) -> Finished:
        context = self._assignment.context
        evidence = [item.model_dump(mode="json") for item in context.evidence]
        match result:
            case Ballot():
                ballot = {
                    "order": [candidate.id for candidate in context.candidates],
                    "ranking": list(result.ranking),
                    "scores": dict(result.scores),
                    "abstain": result.abstain,
                }
                return Finished({}, evidence, ballot, self.last_settlement)
            case Answer():
                said = deliver(result, self._assignment).model_dump(mode="json")
                body: Json = {"answer": said, "citations": self._checked(result.answer)}
            case Synthesis():
                body = {"synthesis": result.model_dump(mode="json")}
            case Dissent():
                body = {"dissent": result.model_dump(mode="json")}
            case Attack():
                body = {"attack": result.model_dump(mode="json"), "citations": self._checked(result.text)}
            case Verdict():
                body = {"verdict": result.model_dump(mode="json")}
        return Finished(body, evidence, None, self.last_settlement)

    def _checked(self, text: str) -> list[Json]:
        """An answer's own citations, so that watchers see at once what holds."""
        question = self._assignment.context
        given = " ".join([question.question, *question.options])
        checks = citations.check(text, question.evidence, lambda revision: revision_text(UUID(revision)), given=given)
        return [check.model_dump(mode="json") for check in checks]


def _storable(text: str) -> str:
    """A reply for the record: PostgreSQL holds neither NUL nor lone surrogates, everything else stays as it was said."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()
