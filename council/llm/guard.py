"""Connections only to addresses that a rule allows: a guard for endpoints that people type in (SSRF).

The name is resolved here, **every** address that it resolves to must be allowed (whoever controls the name controls which is used),
and the connection goes to an address that was checked, under the host's own name (Host, SNI, certificate). It sits below the
SDKs, where the socket is made, so that whatever they ask for passes it, connection by connection. Proxies of the environment are
not used and redirects not followed (``loop``). Not guarded: which port, and what the server behind an allowed address does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable

import httpcore2
import httpx2

from council.llm.errors import AddressBlocked

Rule = Callable[[str], bool]


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """httpx2's transport, over connections that are checked. TLS certificates are always verified."""

    def __init__(self, allows: Rule, limits: httpx2.Limits) -> None:
        self._pool = httpcore2.AsyncConnectionPool(  # httpx2 has no parameter for the backend
            ssl_context=httpx2.create_ssl_context(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=GuardedBackend(allows),
        )


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    def __init__(self, allows: Rule) -> None:
        self._allows = allows
        self._sockets = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the backend's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Raises ``AddressBlocked`` before anything is connected to."""
        *others, last = await self._checked(host, port, timeout)
        for address in others:
            try:
                return await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue  # as with any name of several addresses: the last one's failure is the answer
        return await self._sockets.connect_tcp(last, port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  # the backend's interface
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise AddressBlocked("a model is not called over a Unix socket")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _checked(self, host: str, port: int, seconds: float | None) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise httpcore2.ConnectError(f"the name {host} cannot be resolved") from error
        addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
        if not addresses or not all(self._allows(address) for address in addresses):
            raise AddressBlocked(f"{host} is not at an address that may be called")
        return addresses
