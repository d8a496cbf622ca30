"""One attempt's dialogue with one model. It never waits: whoever drives it hands replies on as they come (``runner``)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

from council import budgets, evidence
from council.budgets import NewCall, Opened, Settlement
from council.claims import Claim
from council.context import Assignment
from council.deliberation import dialogues
from council.deliberation.dialogues import Dialogue, Result, Sent
from council.deliberation.livetext import live_text
from council.deliberation.parsing import ReplyError
from council.deliberation.shelf import Shelf
from council.deliberation.tools import Search, ToolCall, ToolCalls, written
from council.deliberation.types import Evidence, Prompt
from council.endpoints import Model, Route
from council.errors import Fenced
from council.limits import Place
from council.live import LiveTurn
from council.llm import client
from council.llm.capability import style_for
from council.llm.errors import Cancelled, LlmError, PromptTooLong, ToolsRefused
from council.llm.types import ChatRequest, Reply, Usage
from council.models import CouncilSession, LlmCall
from council.orchestrator import Finished
from council.results import finished
from council.serial import SEALED_TURNS
from realtime.groups import stream_group

Prepare = Callable[..., Assignment]  # (*, tools: bool): the turn as a model reads it that can, or cannot, call them


def most_tokens(prompt: Prompt) -> int:
    """An upper bound of what a call takes, for reservations: text has at most a token for three bytes in the languages that
    tokenizers cut finest, English about one for four; the rest is for the template around it."""
    shapes = "".join(map(str, [*([prompt.json_schema] if prompt.json_schema else []), *prompt.tools]))
    return len((prompt.system + prompt.said + shapes).encode(errors="replace")) // 3 + 32 + prompt.max_tokens


class Conversation:
    """Knows what to ask next and whom, asks it, and streams what may be watched.

        advance ─▶ Prompt ─▶ call_for, recorded in a transaction ─▶ submit, outside of any ─▶ … it ends … ─▶ advance ─▶ … ─▶ Finished

    A reply that calls the search tool is served within ``advance``, which reads the packs outside of any transaction.
    When the model fails in a way that its profile names, the next of the route is asked within the same attempt. It begins the turn
    anew: one turn is one model's words. ``cancel`` may come from another thread at any moment.
    """

    def __init__(self, claim: Claim, prepare: Prepare, route: Route) -> None:
        self.claim, self._prepare = claim, prepare
        self._model, self._rest = route[0], list(route[1:])
        self._begin()
        self._live = LiveTurn(stream_group(CouncilSession, claim.session_id), claim.turn_id, claim.attempt)
        self.last_settlement: Settlement | None = None  # of the latest call, not stored yet
        self._call: client.Call | None = None
        self._record: UUID | None = None  # of the call that is being made
        self._ordinal = 0
        self._lost = threading.Event()

    def _begin(self) -> None:
        style = style_for(self._model.endpoint)
        assignment = self._prepare(tools=style == "structured" and _calls_tools(self._model))
        self._assignment = assignment
        self._shelf = Shelf(assignment.context.evidence)
        self._prompt: Prompt | None = None  # the latest
        self._dialogue: Dialogue = dialogues.start(assignment.context, style, assignment.seed)

    def advance(self) -> Prompt | Finished:
        """Take the reply of the call that ended, if there was one, and say what comes next.

        Raises LlmError, ReplyError, or Fenced when the claim was lost meanwhile.
        """
        while True:
            try:
                return self._step()
            except ToolsRefused as error:
                self._ask_anew(error)
            except (LlmError, ReplyError) as error:
                if error.code not in self._model.moves_on or not self._rest or self.claim.seconds_left() <= 0:
                    raise
                self._move_on(error)

    def _step(self) -> Prompt | Finished:
        try:
            said = None if self._call is None else self._heard(self._take_reply(self._call))
            asked = next(self._dialogue) if said is None else self._dialogue.send(said)
            while isinstance(asked, Search):
                asked = self._dialogue.send(self._search(asked))
        except StopIteration as stop:
            return self._finished(stop.value)
        self._prompt = prompt = asked
        window = self._model.context_window
        if window is not None and most_tokens(prompt) > window:
            raise PromptTooLong(f"about {most_tokens(prompt)} tokens with the reply; the model takes {window}")
        return prompt

    def _heard(self, reply: Reply) -> Sent:
        """Calls of tools count where they may be made, and where there is nothing else."""
        wanted = self._prompt is not None and self._prompt.may_call
        if not reply.calls or not (wanted or not reply.text.strip()):
            return reply.text
        if reply.text.strip():
            self._live.restart()  # what was said beside the calls is not the answer
        return _calls(reply)

    def _search(self, search: Search) -> tuple[Evidence, ...]:
        pack = UUID(search.pack) if search.pack else None
        return self._shelf.add(search, evidence.retrieve(self.claim.session_id, search.query, search.k, pack))

    def _move_on(self, error: LlmError | ReplyError) -> None:
        model = self._rest.pop(0)
        self._ask_anew(error, model)

    def _ask_anew(self, error: LlmError | ReplyError, model: Model | None = None) -> None:
        """Begin the turn again, with another model or, after a refusal of its tools, with the same one."""
        if isinstance(error, LlmError) and self._call is not None:
            self.last_settlement = self.failed(error)
        self._call = None
        self._model = replace(self._model, tools=False) if isinstance(error, ToolsRefused) else model or self._model
        self._begin()
        self._live.restart()

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
        model, tokens = self._model, most_tokens(prompt)
        return NewCall(
            self.claim,
            prompt,
            self._ordinal,
            model.endpoint.model,
            tokens,
            profile=model.profile,
            usd=self._cost(Usage(tokens - prompt.max_tokens, prompt.max_tokens)),
            seconds=self._time_limit(),
        )

    def _cost(self, usage: Usage) -> Decimal:
        return self._model.prices.of(usage) if self._model.prices is not None else Decimal(0)

    def _time_limit(self) -> float:
        left = max(self.claim.seconds_left(), 0.01)
        return left if self._model.timeout_s is None else min(left, self._model.timeout_s)

    def submit(self, prompt: Prompt, opened: Opened, ended: Callable[[], None]) -> None:
        """Make the call that was opened, once ``last_settlement`` is stored. ``ended`` is called when it is over, from whichever
        thread ends it."""
        self.last_settlement, self._record = None, opened.id
        live = live_text(prompt)
        request = ChatRequest.of(
            prompt,
            self._model.endpoint,
            seed=self._assignment.seed + self._ordinal,  # one seed for all calls of a turn would repeat its slips
            timeout_s=max(min(self._time_limit(), opened.seconds), 0.01),
        )
        self._ordinal += 1
        watched = prompt.live and not (self.claim.sealed and self.claim.kind in SEALED_TURNS)
        on_text = (lambda text: self._live.write(live.feed(text))) if watched else None
        self._call = client.submit(request, on_text, self._place(prompt, opened))
        if self._lost.is_set():
            self._call.cancel()
        self._call.add_done_callback(ended)

    def _place(self, prompt: Prompt, opened: Opened) -> Place | None:
        limits = self._model.limits
        return Place(limits, opened.id, most_tokens(prompt)) if limits.any else None

    def cancel(self) -> None:
        """The claim is gone (stop, interrupt, take-over), or this worker is to end: end the upstream call now. Called by the
        heartbeat's thread, or the one that watches for the end."""
        self._lost.set()
        if (call := self._call) is not None:
            call.cancel()

    def close(self) -> None:
        """Nothing is called or streamed after this returns."""
        if self._call is not None:
            self._call.cancel()
        self._live.close()

    def failed(self, error: LlmError) -> Settlement | None:
        """Of the call that failed; of the one before it where none was made after that."""
        if self._call is None:
            return self.last_settlement
        usage = error.usage or Usage(0, 0, estimated=True)
        return self._settlement(LlmCall.Status.ERROR, usage, error=error)

    def settle_lost(self) -> None:
        """The turn is not ours any more; what the call cost is charged all the same, and none of its text is kept."""
        if (cost := self.ended_early()) is not None:
            budgets.settle([cost])

    def ended_early(self) -> Settlement | None:
        """Of the call that was cancelled; of the one before it where none was made after that."""
        if self.last_settlement is None and self._record is not None:
            usage = self._call.usage if self._call is not None else Usage(0, 0, estimated=False)
            self.last_settlement = self._settlement(LlmCall.Status.CANCELLED, usage)
        return self.last_settlement

    def _settlement(
        self, status: LlmCall.Status, usage: Usage, *, reply: Reply | None = None, error: LlmError | None = None
    ) -> Settlement:
        if self._record is None:
            raise RuntimeError("a call is settled after it was recorded")
        return Settlement(
            id=self._record,
            status=status,
            response=_response(reply) if reply else "",
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            usd=self._cost(usage),
            seconds=self._call.seconds if self._call is not None and usage.total else 0.0,
            estimated=usage.estimated,
            ttft_ms=reply.ttft_ms if reply else None,
            latency_ms=reply.latency_ms if reply else None,
            error=error.code if error else "",
            error_detail=error.detail if error else "",
        )

    def _finished(self, result: Result) -> Finished:
        return finished(result, self._assignment, self.last_settlement, self._shelf)


def _calls_tools(model: Model) -> bool:
    return model.tools and client.takes_tools(model.endpoint)


def _calls(reply: Reply) -> ToolCalls:
    calls = (
        ToolCall(id=_storable(call.id), name=_storable(call.name), arguments=_storable(call.arguments))
        for call in reply.calls
    )
    return ToolCalls(calls=tuple(calls), text=_storable(reply.text))


def _response(reply: Reply) -> str:
    return written(_calls(reply)) if reply.calls else _storable(reply.text)


def _storable(text: str) -> str:
    """A reply for the record: PostgreSQL holds neither NUL nor lone surrogates, everything else stays as it was said."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()
