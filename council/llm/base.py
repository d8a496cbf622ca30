"""The base of all providers: send, read the stream, translate errors, speak a weaker dialect when asked to.

A provider fills in five things: how to open the stream, how to read one event, and its SDK's two error classes. The
stream is read as raw lines: the SDKs' typed chunk objects cost five times the CPU (8.4 against 1.6 ms for 80 tokens)
and we use two fields of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import httpx2

from council.llm.dialect import Dialect, refuses_tools, worth_remembering
from council.llm.errors import (
    AddressBlocked,
    BadRequest,
    CutStream,
    LlmError,
    Malformed,
    ServerError,
    ToolsRefused,
    Unreachable,
    from_status,
)
from council.llm.progress import Progress
from council.llm.types import ChatRequest

DRAIN_S = 0.1
MAX_LINE_BYTES = 1 << 20
SLOW_READS = 4
WAIT_S = 0.002
PACE_S = 0.05


class Pace:
    """Lets a slow stream gather in the socket between reads.

    A read from the socket costs about 0.06 ms of CPU in the HTTP layers, whether it brings one token or fifty. Once a
    stream has kept us waiting ``SLOW_READS`` times, each further wait is followed by a rest of ``PACE_S``, which is below
    what watchers can see (deltas are coalesced to 100 ms). Bursts are not paced: what is already here is read at once.
    """

    __slots__ = ("_ready_at", "_waits")

    def __init__(self) -> None:
        self._ready_at = time.perf_counter()
        self._waits = -1  # the wait for the first token says nothing about the stream

    async def after_read(self) -> None:
        if time.perf_counter() - self._ready_at > WAIT_S:
            self._waits += 1
            if self._waits >= SLOW_READS:
                await asyncio.sleep(PACE_S)
        self._ready_at = time.perf_counter()


class Provider(ABC):
    """One (base_url, key) of one SDK. Lives on the loop thread and holds no state of a call."""

    status_error: ClassVar[type[Exception]]  # has .status_code, .body, .message and .response
    connection_error: ClassVar[type[Exception]]

    @abstractmethod
    def __init__(self, base_url: str, api_key: str, http: httpx2.AsyncClient) -> None:
        """``http`` is shared with other providers and is not ours to close."""

    @abstractmethod
    def open(self, request: ChatRequest, dialect: Dialect) -> contextlib.AbstractAsyncContextManager[httpx2.Response]:
        """Send the request; the response's headers are read, its body is not."""

    @abstractmethod
    def read(self, event: dict[str, Any], progress: Progress) -> None:
        """Take in one event of the stream. Raises an LlmError when the event carries one."""

    async def run(self, request: ChatRequest, progress: Progress, dialect: Dialect) -> Dialect:
        """Run one logical call into ``progress``; the answer is the dialect to use next time. Raises LlmError."""
        keep = dialect
        while True:
            try:
                await self._attempt(request, progress, dialect)
                return keep
            except BadRequest as error:
                weaker = dialect.without(error.detail)
                if weaker is None:
                    _raise_if_about_tools(request, error)
                    raise
                dialect = weaker
                keep = weaker if worth_remembering(error.detail) else keep
            except ServerError as error:  # llama.cpp complains with a 500, gateways with a 501
                _raise_if_about_tools(request, error)
                raise

    async def _attempt(self, request: ChatRequest, progress: Progress, dialect: Dialect) -> None:
        progress.answered = None
        try:
            async with self.open(request, dialect) as response:
                progress.answered = True
                await self._consume(response, progress)
        except AddressBlocked:
            progress.answered = False
            raise
        except self.status_error as error:
            progress.answered = False
            raise self._from_status(error) from error
        except self.connection_error as error:
            progress.answered = False
            raise _blocked(error) or Unreachable(f"{error.__cause__ or error}") from error
        except httpx2.TransportError as error:  # from the body: the SDKs wrap only what happens before it
            raise CutStream(f"after {progress.chars} characters: {error}") from error

    def _from_status(self, error: Any) -> LlmError:
        body = error.body if error.body is not None else error.response.text
        return from_status(error.status_code, body, error.response.headers)

    async def _consume(self, response: httpx2.Response, progress: Progress) -> None:
        kind = response.headers.get("content-type", "")
        if kind.startswith("application/json"):  # a server that does not stream, or a proxy that gathered the stream
            self._event(await response.aread(), progress)
            progress.done = True
            return
        chunks = response.aiter_bytes()
        await self._lines(chunks, progress)
        if not progress.events and not kind.startswith("text/event-stream"):
            raise Malformed(f"not an event stream but {kind or 'an answer without a type'}")
        if progress.done:
            await _drain(chunks)

    async def _lines(self, chunks: AsyncIterator[bytes], progress: Progress) -> None:
        """Split into lines ourselves: the SDK's ``iter_lines`` also splits at U+2028 and U+0085, which JSON text may
        contain.
        """
        rest = b""
        pace = Pace()
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._line(line, progress)
            if progress.done:
                return
            if len(rest) > MAX_LINE_BYTES:
                raise Malformed("an endless line in the event stream")
            await pace.after_read()
        self._line(rest, progress)

    def _line(self, line: bytes, progress: Progress) -> None:
        """Comments, ``event:`` and ``id:`` lines say nothing that the data does not; both APIs put an event on one
        data line.
        """
        if not line.startswith(b"data:") or progress.done:
            return
        payload = line[5:].strip()
        if payload == b"[DONE]":
            progress.done = True
        elif payload:
            self._event(payload, progress)

    def _event(self, payload: bytes, progress: Progress) -> None:
        try:
            event = json.loads(payload.decode())  # a str: json would spend as long on guessing the encoding of bytes
        except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError alike; "[[[[…"
            raise Malformed(f"not JSON: {payload[:80]!r}") from error
        if not isinstance(event, dict):
            raise Malformed(f"not an object: {payload[:80]!r}")
        progress.events += 1
        try:
            self.read(event, progress)
            progress.require_figures()
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            raise Malformed(f"unknown shape: {payload[:80]!r}") from error


def _raise_if_about_tools(request: ChatRequest, error: LlmError) -> None:
    """A complaint about the tools that were offered is one of its own kind: there is another way to ask."""
    if request.tools and error.status and refuses_tools(error.detail):
        raise ToolsRefused(error.detail, status=error.status) from error


def _blocked(error: BaseException) -> LlmError | None:
    """The guard's refusal (``guard``), out of what the HTTP layers and the SDK wrapped around it."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, AddressBlocked):
        found = found.__cause__ or found.__context__
    return found


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read to the end of the body: HTTP/1.1 gives the connection back to the pool only then. The reply is complete,
    so a server that dawdles or breaks off here costs us this connection and nothing else.
    """
    with contextlib.suppress(TimeoutError, httpx2.TransportError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in chunks:
                pass
