"""Start a model call from any thread, watch its text, wait for it, end it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Self

from council.llm import loop
from council.llm.errors import Cancelled, LlmError, RealModelForbidden
from council.llm.progress import Progress
from council.llm.types import ChatRequest, Endpoint, Gate, Reply, Usage

ALLOW_REAL_MODELS = True  # tests set it False: then only models on this machine may be called


def submit(request: ChatRequest, on_text: Callable[[str], None] | None = None, gate: Gate | None = None) -> Call:
    """Start the call and return at once. ``on_text`` gets each piece of text on the loop thread, which every call of
    the process shares, so it must be cheap (append to a list); what it raises ends the call and comes out of
    ``result``. With a ``gate`` the call waits for its place first, without holding a thread.
    """
    if not ALLOW_REAL_MODELS and not loop.is_loopback(request.endpoint.base_url):
        raise RealModelForbidden(f"{request.endpoint.base_url} is not on this machine")
    return Call(request, on_text, gate)


def takes_tools(endpoint: Endpoint) -> bool:
    """False once it has refused them in this process."""
    return loop.runtime().dialect(endpoint).tools


class Call:
    """A running call. All methods may be used from any thread. As a context manager it ends the call when left."""

    def __init__(self, request: ChatRequest, on_text: Callable[[str], None] | None, gate: Gate | None = None) -> None:
        loop.provider_class(request.endpoint.provider)  # imports its SDK on this thread, not on the loop
        runtime = loop.runtime()
        self._progress = Progress(request, on_text)
        self._future: Future[Reply] = asyncio.run_coroutine_threadsafe(
            runtime.perform(request, self._progress, gate), runtime.loop
        )

    def result(self, timeout: float | None = None) -> Reply:
        """Wait for the reply. Raises LlmError (with ``usage`` set), or the built-in TimeoutError when ``timeout``
        seconds passed and the call is still running: that ends only this wait.
        """
        try:
            return self._future.result(timeout)
        except CancelledError:
            error = Cancelled("the call was ended by us")
            error.usage = self.usage
            raise error from None
        except LlmError as error:
            error.usage = self.usage
            raise

    def cancel(self) -> bool:
        """End the call: no more text is handed on, the connection is closed within milliseconds. False when it had
        ended.
        """
        self._progress.cancelled = True
        return self._future.cancel()

    def done(self) -> bool:
        return self._future.done()

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call back once when the call has ended, on whichever thread ends it; at once when it has."""
        self._future.add_done_callback(lambda _: callback())

    @property
    def partial_text(self) -> str:
        return self._progress.text

    @property
    def usage(self) -> Usage:
        """What the call has cost so far; the server's own figures once it has sent them, flagged estimates before."""
        return self._progress.usage

    @property
    def seconds(self) -> float:
        """How long the call has taken, or took; what it waited for its place is not counted."""
        return self._progress.seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
