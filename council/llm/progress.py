"""What one call has produced so far. Written by the loop thread only; read by any thread."""

from __future__ import annotations

import time
from collections.abc import Callable

from council.deliberation.tools import ToolCall
from council.llm.errors import CutStream, EmptyReply, Refused, TooLong
from council.llm.types import ChatRequest, Reply, Usage

RUNAWAY_CHARS_PER_TOKEN = 16  # far above any tokenizer's mean, even for code and runs of white space
RUNAWAY_SLACK = 1024
COUNT_MAX = 2**31 - 1  # what the database takes


class Progress:
    __slots__ = (
        "_calls", "_limit", "_on_text", "answered", "cached_tokens", "cancelled", "chars", "completion_tokens", "done", "ended_at",
        "events", "finish_reason", "first_at", "last_at", "model", "pieces", "prompt_tokens", "request", "started_at",
    )  # fmt: skip

    def __init__(self, request: ChatRequest, on_text: Callable[[str], None] | None) -> None:
        self.request = request
        self.pieces: list[str] = []
        self.chars = 0
        self.events = 0
        self.answered: bool | None = None  # None: no answer yet; False: turned away before any work was done
        self.done = False  # the protocol's own end mark was seen
        self.cancelled = False
        self.finish_reason = ""
        self.model = request.endpoint.model
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.cached_tokens = 0
        self.ended_at: float | None = None
        self.started_at = time.perf_counter()
        self.first_at: float | None = None
        self.last_at = self.started_at
        self._calls: dict[int, list[str]] = {}  # by place: id, name, arguments so far
        self._on_text = on_text
        self._limit = request.max_tokens * RUNAWAY_CHARS_PER_TOKEN + RUNAWAY_SLACK

    def begin(self) -> None:
        """The call is made now: what it waited for before is not its own time."""
        self.started_at = self.last_at = time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long the call has taken, or took."""
        return (time.perf_counter() if self.ended_at is None else self.ended_at) - self.started_at

    def add(self, piece: str) -> None:
        """One piece of text, in order. A cancelled call hands none on: what stop promised to drop must not reach
        watchers.
        """
        self._count(piece)
        self.pieces.append(piece)
        if self._on_text is not None and not self.cancelled:
            self._on_text(piece)

    def add_call(self, place: int | None, identity: str, name: str, arguments: str) -> None:
        """One piece of a tool call. Servers that send no place send calls whole, or go on with the latest."""
        if place is None:
            place = len(self._calls) if name or not self._calls else max(self._calls)
        call = self._calls.setdefault(place, ["", "", ""])
        call[0], call[1] = call[0] or identity, call[1] or name
        call[2] += arguments
        self._count(identity + name + arguments)

    def require_figures(self) -> None:
        """Raises TypeError when what the server said of its work is not of the kind that is stored."""
        counts = (self.prompt_tokens, self.completion_tokens, self.cached_tokens)
        if not all(count is None or (type(count) is int and 0 <= count <= COUNT_MAX) for count in counts):
            raise TypeError("a count of tokens that is none")
        if not all(isinstance(word, str) for word in (self.model, self.finish_reason, *self.pieces[-1:])):
            raise TypeError("words that are none")

    def _count(self, piece: str) -> None:
        self.last_at = time.perf_counter()
        if self.first_at is None:
            self.first_at = self.last_at
        self.chars += len(piece)
        if self.chars > self._limit:
            raise TooLong(f"the server ignored max_tokens={self.request.max_tokens}")

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Numbered anew where the server names none: a result must name its call."""
        found = (self._calls[place] for place in sorted(self._calls))
        return tuple(
            ToolCall(id=identity or f"call_{n}", name=name, arguments=arguments)
            for n, (identity, name, arguments) in enumerate(found)
        )

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def usage(self) -> Usage:
        """The server's figures, or estimates where it gave none, so that a call that broke off can be charged too.

        A request that was turned away (an error status instead of an answer, no connection, no place behind our own limits)
        cost nothing: no provider charges for those.
        """
        if self.answered is False:
            return Usage(0, 0)
        estimate = Usage.estimate(self.request.prompt_chars, self.chars)
        if self.prompt_tokens is None and self.completion_tokens is None:
            return estimate
        prompt = estimate.prompt_tokens if self.prompt_tokens is None else self.prompt_tokens
        completion = estimate.completion_tokens if self.completion_tokens is None else self.completion_tokens
        given = self.prompt_tokens is not None and self.completion_tokens is not None
        return Usage(prompt, completion, estimated=not given, cached_tokens=min(self.cached_tokens, prompt))

    def reply(self) -> Reply:
        """The finished reply. Raises CutStream, Refused, TooLong or EmptyReply when it is none."""
        text, calls = self.text, self.calls
        self._require_usable(blank=not text.strip() and not calls)
        first = self.last_at if self.first_at is None else self.first_at
        return Reply(
            text=text,
            usage=self.usage,
            finish_reason=self.finish_reason or "stop",
            model=self.model,
            ttft_ms=(first - self.started_at) * 1000,
            latency_ms=(self.last_at - self.started_at) * 1000,
            calls=calls,
        )

    def _require_usable(self, *, blank: bool) -> None:
        if not self.done and not self.finish_reason:
            raise CutStream(f"the stream ended after {self.chars} characters")
        if self.finish_reason == "content_filter":
            raise Refused("the model or its provider refused to answer")
        # Half a JSON object is worth nothing, and blank text at the limit was spent on reasoning or padding.
        if self.finish_reason == "length" and (blank or self.request.json_schema is not None):
            raise TooLong(f"cut off at max_tokens={self.request.max_tokens}")
        if blank:
            raise EmptyReply("the model answered with nothing")
