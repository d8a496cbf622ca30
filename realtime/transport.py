"""``realtime.addresses`` for clients that are built on httpx2: connections are made only to addresses that a rule allows.

It sits where sockets are made, so that whatever the client above asks for passes it, connection by connection. Proxies of the environment
are not used. (``council.llm.guard`` is the same for asyncio; the adapter of models knows nothing of this app and is given the rule.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import httpcore2
import httpx2

from realtime.addresses import Blocked, Resolver, Unresolved, looked_up, system_resolver

Rule = Callable[[str], bool]
MAX_CONNECTIONS: Final = 100
_RESOLVE_S: Final = 10.0


class GuardedTransport(httpx2.HTTPTransport):
    """httpx2's transport, over connections that are checked. TLS certificates are always verified."""

    def __init__(self, allows: Rule, resolver: Resolver = system_resolver) -> None:
        self._pool = httpcore2.ConnectionPool(  # httpx2 has no parameter for the backend
            ssl_context=httpx2.create_ssl_context(),
            max_connections=MAX_CONNECTIONS,
            network_backend=_Backend(allows, resolver),
        )


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, allows: Rule, resolver: Resolver) -> None:
        self._allows, self._resolver = allows, resolver
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Raises ``Blocked`` before anything is connected to."""
        try:
            found = looked_up(host, port, self._resolver, time.monotonic() + (timeout or _RESOLVE_S))
        except Unresolved as error:
            raise httpcore2.ConnectError(error.detail) from error
        if not all(map(self._allows, found)):
            raise Blocked(f"{host} is not at an address that may be called.")
        *others, last = found
        for address in others:
            with suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                return self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
        return self._sockets.connect_tcp(last, port, timeout, local_address, socket_options)

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        raise Blocked("No server is called over a Unix socket.")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
