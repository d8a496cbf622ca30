"""Requests to addresses that people name, through the rules of ``realtime.addresses``.

The name is resolved once, **every** address that it resolves to must pass, and the connection goes to the very address that was
checked, under the host's own name (Host, SNI, certificate). Proxies of the environment are not used, time is bounded as a whole (a
server that sends a byte now and then gains nothing), and so is size.

Blocked        the address may not be asked; nothing was connected to
FetchFailed    it may, but did not give a usable answer
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

from realtime.addresses import Blocked, Policy, Resolver, Target, Unresolved, left, system_resolver
from realtime.errors import Unavailable

Connector = Callable[[str, int, float], socket.socket]

REDIRECTS_MAX: Final = 3
PAGES: Final = Policy({"http": (80,), "https": (443,)})
_CHUNK: Final = 64 * 1024
_REDIRECTS: Final = (301, 302, 303, 307, 308)


class FetchFailed(Unavailable):
    code = "fetch_failed"


def connect(address: str, port: int, timeout: float) -> socket.socket:
    return socket.create_connection((address, port), timeout)


class Door:
    """One request at a time, each over a connection of its own to an address that was checked.

    ``resolver`` and ``connector`` are for tests, and for whoever has a resolver of his own.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        resolver: Resolver = system_resolver,
        connector: Connector = connect,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.policy = policy
        self._resolver = resolver
        self._connector = connector
        self._tls = tls

    @contextmanager
    def asked(
        self, method: str, target: Target, headers: Mapping[str, str], body: bytes = b"", *, until: float
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer, whose body is to be read inside. Raises ``Blocked`` and ``FetchFailed``, also for what fails inside."""
        try:
            addresses = self.policy.resolved(target, self._resolver, until)
            with self._connected(addresses, target, until) as sock:
                yield _sent(sock, method, target, headers, body)
                left(until)  # what was read from a connection that we cut off is not all
        except Unresolved as error:
            raise FetchFailed(error.detail) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            name = "TimeoutError" if time.monotonic() >= until else type(error).__name__
            raise FetchFailed(f"{target.host} did not answer: {name}.") from error

    @contextmanager
    def _connected(self, addresses: Sequence[str], target: Target, until: float) -> Iterator[socket.socket]:
        """The socket, which is shut down when the time is up: time-outs of sockets begin anew with each byte."""
        sock = self._first(addresses, target.port, until)
        if target.scheme == "https":
            context = self._tls or ssl.create_default_context()
            sock = _wrapped(context, sock, target.host)
        timer = threading.Timer(left(until), _shut, [sock])
        timer.daemon = True
        with closing(sock):
            timer.start()
            try:
                sock.settimeout(left(until))
                if isinstance(sock, ssl.SSLSocket):
                    sock.do_handshake()
                yield sock
            finally:
                timer.cancel()

    def _first(self, addresses: Sequence[str], port: int, until: float) -> socket.socket:
        """A connection to the first of them that answers; the last one's failure is the answer."""
        *others, last = addresses
        for address in others:
            with suppress(OSError):
                return self._connector(address, port, left(until))
        return self._connector(last, port, left(until))


def _wrapped(context: ssl.SSLContext, sock: socket.socket, host: str) -> ssl.SSLSocket:
    try:
        return context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        sock.close()
        raise


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # closed a moment ago
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not TLS's own, which another thread is in the middle of


def _sent(
    sock: socket.socket, method: str, target: Target, headers: Mapping[str, str], body: bytes
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = sock
    connection.putrequest(method, target.path, skip_host=True, skip_accept_encoding=True)
    every = {"Host": target.authority, **headers, "Accept-Encoding": "identity", "Connection": "close"}
    for name, value in every.items():
        connection.putheader(name, value)
    connection.endheaders(body or None)
    return connection.getresponse()


# --- Pages of imports ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """What was fetched. ``url`` is where it was in the end."""

    url: str
    media_type: str
    body: bytes


class Fetcher:
    """GETs pages from the hosts of ``allowed``: ``example.org`` is that host, ``.example.org`` it and everything below. Redirects pass
    the same checks, at most three of them."""

    def __init__(
        self,
        allowed: Iterable[str],
        *,
        total_s: float = 30.0,
        resolver: Resolver = system_resolver,
        connector: Connector = connect,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = [host.lower().rstrip(".") for host in allowed]
        self._total_s = total_s
        self._door = Door(PAGES, resolver=resolver, connector=connector, tls=tls)

    def get(self, url: str, *, max_bytes: int) -> Page:
        """The page. Raises ``Blocked`` and ``FetchFailed``."""
        until = time.monotonic() + self._total_s
        for _ in range(REDIRECTS_MAX + 1):
            target = self.checked(url)
            headers = {"User-Agent": "Quorum (knowledge import)"}
            with self._door.asked("GET", target, headers, until=until) as response:
                found = _page_or_redirect(url, response, max_bytes)
            if isinstance(found, Page):
                return found
            following = urljoin(url, found)
            if target.scheme == "https" and urlsplit(following).scheme == "http":
                raise Blocked("The page redirects from https to http, which is not followed.")
            url = following
        raise FetchFailed(f"The page redirects more than {REDIRECTS_MAX} times.")

    def checked(self, url: str) -> Target:
        """What may be asked as far as its text goes. Raises ``Blocked``."""
        target = self._door.policy.target(url)
        if not self._allowed:
            raise Blocked("Fetching is switched off here.")
        if not self._is_listed(target.host):
            raise Blocked(f"{target.host} is not on the list of hosts to fetch from.")
        return target

    def _is_listed(self, host: str) -> bool:
        return any(
            host == name.removeprefix(".") or (name.startswith(".") and host.endswith(name)) for name in self._allowed
        )


def _page_or_redirect(url: str, response: http.client.HTTPResponse, max_bytes: int) -> Page | str:
    to = response.getheader("Location")
    if response.status in _REDIRECTS and to:
        return to
    if response.status != 200:
        raise FetchFailed(f"The server answered {response.status}.")
    if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
        raise FetchFailed("The server sent a compressed page, which was not asked for.")
    if (response.length or 0) > max_bytes:
        raise FetchFailed(f"The page has more than {max_bytes} bytes.")
    body = _read(response, max_bytes + 1)
    if len(body) > max_bytes:
        raise FetchFailed(f"The page has more than {max_bytes} bytes.")
    if response.length:
        raise FetchFailed("The server broke off before the end of the page.")
    return Page(url, response.headers.get_content_type(), body)


def _read(response: http.client.HTTPResponse, at_most: int) -> bytes:
    body = bytearray()
    while len(body) < at_most and (chunk := response.read1(min(_CHUNK, at_most - len(body)))):
        body += chunk
    return bytes(body)


# --- Messages -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Posted:
    """What a receiver answered, and how its body begins."""

    status: int
    excerpt: bytes


class Poster:
    """POSTs messages. Follows no redirect, and reads of the answer as much as it is asked to."""

    def __init__(self, door: Door, *, total_s: float) -> None:
        self._door = door
        self._total_s = total_s

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, read: int) -> Posted:
        """Whatever the status. Raises ``Blocked`` and ``FetchFailed``."""
        until = time.monotonic() + self._total_s
        target = self._door.policy.target(url)
        given = {**headers, "Content-Length": str(len(body))}
        with self._door.asked("POST", target, given, body, until=until) as response:
            return Posted(response.status, _read(response, read))
