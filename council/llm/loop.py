"""One asyncio loop thread per process, and what lives on it: connection pools, SDK clients, learned dialects.

    task thread ── submit ──▶ loop thread ── HTTP ──▶ model
         └───────── waits on a concurrent future ◀──────┘

Fork: a child inherits the memory but not the thread. It gets a runtime of its own on first use, and the parent's is
kept there untouched for ever: finalising it would close the child's copy of an epoll set that the parent still uses.
"""

from __future__ import annotations

import asyncio
import atexit
import ipaddress
import os
import threading
import time
from collections import OrderedDict, defaultdict
from dataclasses import replace
from functools import partial

import httpx2

from council.llm.base import Provider
from council.llm.dialect import Dialect
from council.llm.errors import Limited, ModelTimeout, ToolsRefused
from council.llm.guard import GuardedTransport
from council.llm.progress import Progress
from council.llm.types import ChatRequest, Endpoint, Gate, ProviderName, Reply, Usage

CONNECT_S = (
    10.0  # reads have no timeout of their own: the request's deadline covers them, and a timer per read costs CPU
)
# Before each request a pool asks each of its idle connections whether it still stands, which costs 0.05 ms of CPU a connection: an
# eighth of what a worker did with 64 councils on one pool. So calls at once are spread over several small pools, the first ones first.
POOL_CALLS = 8
LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=POOL_CALLS, keepalive_expiry=30.0)
MIN_S = 0.01
MAX_CLIENTS = 256  # SDK clients are cheap and share the pools; the least recently used is forgotten


class Runtime:
    """The loop thread of this process. ``loop`` may be used from any thread, everything else on the loop only."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._providers: OrderedDict[tuple[object, ...], Provider] = OrderedDict()
        self._dialects: dict[tuple[str, str, str], Dialect] = {}
        self._pools: dict[tuple[object, int], httpx2.AsyncClient] = {}
        self._calls: defaultdict[object, list[int]] = defaultdict(list)  # that each of the pools of one kind is making
        self._thread = threading.Thread(target=self._main, name="llm-loop", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(self._shut())
        self.loop.close()

    async def _shut(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for pool in self._pools.values():
            await pool.aclose()

    def close(self) -> None:
        """Cancel every call, close every connection, end the thread. For tests and for the end of the process."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    async def perform(self, request: ChatRequest, progress: Progress, gate: Gate | None = None) -> Reply:
        """One logical call. Raises LlmError; on cancellation the upstream connection is closed before this returns."""
        if gate is None:
            return await self._perform(request, progress, request.timeout_s)
        progress.answered = False  # until it is let in
        left = await wait_for_place(gate, request.timeout_s)
        progress.answered = None
        progress.begin()
        try:
            return await self._perform(request, progress, left)
        finally:
            progress.ended_at = time.perf_counter()
            self.loop.run_in_executor(None, gate.leave, progress.usage)

    async def _perform(self, request: ChatRequest, progress: Progress, seconds: float) -> Reply:
        endpoint = request.endpoint
        dialect = self.dialect(endpoint)
        deadline = asyncio.timeout(seconds)
        kind = _kind(endpoint)
        number = self._pool_number(kind)
        try:
            async with deadline:
                learned = await self._provider(endpoint, kind, number).run(request, progress, dialect)
        except ToolsRefused:
            self._dialects[endpoint.provider, endpoint.base_url, endpoint.model] = replace(dialect, tools=False)
            raise
        except TimeoutError:
            if not deadline.expired():
                raise  # someone else's, from on_text
            raise ModelTimeout(f"{progress.chars} characters after {seconds:g} s") from None
        finally:
            self._calls[kind][number] -= 1
            progress.ended_at = time.perf_counter()
        if learned is not dialect:
            self._dialects[endpoint.provider, endpoint.base_url, endpoint.model] = learned
        return progress.reply()

    def dialect(self, endpoint: Endpoint) -> Dialect:
        """How the server has turned out to want to be asked, so far."""
        return self._dialects.get((endpoint.provider, endpoint.base_url, endpoint.model)) or Dialect.of(endpoint)

    def _pool_number(self, kind: object) -> int:
        """The first pool of this kind that has room for a call, which is counted there until it ends."""
        calls = self._calls[kind]
        number = next((n for n, made in enumerate(calls) if made < POOL_CALLS), len(calls))
        if number == len(calls):
            calls.append(0)
        calls[number] += 1
        return number

    def _provider(self, endpoint: Endpoint, kind: object, number: int) -> Provider:
        key = (endpoint.provider, endpoint.base_url, endpoint.api_key, kind, number)
        if key not in self._providers:
            http = self._pool(endpoint, kind, number)
            self._providers[key] = provider_class(endpoint.provider)(endpoint.base_url, endpoint.api_key, http)
            while len(self._providers) > MAX_CLIENTS:
                self._providers.popitem(last=False)
        self._providers.move_to_end(key)
        return self._providers[key]

    def _pool(self, endpoint: Endpoint, kind: object, number: int) -> httpx2.AsyncClient:
        if (kind, number) not in self._pools:
            self._pools[kind, number] = httpx2.AsyncClient(
                transport=GuardedTransport(endpoint.allows, LIMITS) if endpoint.allows else None,
                timeout=httpx2.Timeout(None, connect=CONNECT_S),
                limits=LIMITS,
                trust_env=kind is False,
                verify=kind is False,
                follow_redirects=False,  # a redirect would carry prompts to a host that nobody configured
            )
        return self._pools[kind, number]


def _kind(endpoint: Endpoint) -> object:
    """Which pools may be used: this machine's (True), past any proxy that the environment names and without CA files to load; the
    world's (False); and those of a rule of addresses, past any proxy as well, for a proxy would look up the name itself."""
    return endpoint.allows or is_loopback(endpoint.base_url)


async def wait_for_place(gate: Gate, timeout_s: float) -> float:
    """Wait at the gate; the seconds that are left of ``timeout_s``. Raises Limited."""
    running = asyncio.get_running_loop()
    began = running.time()
    patience = min(gate.patience_s, timeout_s)
    while True:
        asked = running.run_in_executor(None, gate.enter)
        try:
            again = await asyncio.shield(asked)
        except asyncio.CancelledError:
            asked.add_done_callback(partial(_give_back, gate))
            raise
        waited = running.time() - began
        if again == 0:
            return max(timeout_s - waited, MIN_S)
        if waited + again > patience:
            raise Limited(f"no place within {patience:g} s")
        await asyncio.sleep(again)


def _give_back(gate: Gate, asked: asyncio.Future[float]) -> None:
    """The call was ended while its thread was asking for a place, which it may have got."""
    if not asked.cancelled() and asked.exception() is None and asked.result() == 0:
        asked.get_loop().run_in_executor(None, gate.leave, Usage(0, 0))


def provider_class(name: ProviderName) -> type[Provider]:
    """The provider, imported late: each SDK takes half a second and more, and most installations use one. Call it
    before the call reaches the loop: an import there would hold up every other call and eat into deadlines.
    """
    if name == "anthropic":
        from council.llm.anthropic import Anthropic

        return Anthropic
    from council.llm.openai_compat import OpenAICompatible

    return OpenAICompatible


class _Process:
    """The runtime of the process we are in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._inherited: list[Runtime] = []

    def runtime(self) -> Runtime:
        with self._lock:
            if self._runtime is None:
                self._runtime = Runtime()
            return self._runtime

    def close(self) -> None:
        with self._lock:
            runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.close()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()  # another thread of the parent may have held it
        if self._runtime is not None:
            self._inherited.append(self._runtime)
            self._runtime = None


_process = _Process()
runtime = _process.runtime
close = _process.close
os.register_at_fork(after_in_child=_process.after_fork_in_child)
atexit.register(_process.close)


def is_loopback(url: str) -> bool:
    """Whether ``url`` names this machine; a name that only resolves to it does not count."""
    host = httpx2.URL(url).host
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
