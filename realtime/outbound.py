"""Requests to addresses that people name: a guard against having our server ask what they themselves could not reach (SSRF).

A host must be on a list, its name is resolved once, **every** address that it resolves to must be public, and the connection goes to
the very address that was checked, under the host's own name (Host, SNI, certificate). Only http and https, only their own ports; a
redirect passes the same checks, at most three of them; proxies of the environment are not used; size and time are bounded.

Blocked        the address may not be asked; nothing was connected to
FetchFailed    it may, but did not give a usable answer
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from realtime.errors import InvalidInput, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]
Connector = Callable[[str, int, float], socket.socket]

REDIRECTS_MAX: Final = 3
PORTS: Final = {"http": 80, "https": 443}
_CHUNK: Final = 64 * 1024
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_AGENT: Final = "Quorum (knowledge import)"
_V4_REFUSED: Final = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
# All of IPv6 but global unicast is refused; within it, what IANA set aside and every way to write an IPv4 address.
_V6_PUBLIC: Final = ipaddress.IPv6Network("2000::/3")
_V6_REFUSED: Final = tuple(
    ipaddress.IPv6Network(block)
    for block in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20")
)


class Blocked(InvalidInput):
    code = "address_blocked"


class FetchFailed(Unavailable):
    code = "fetch_failed"


@dataclass(frozen=True, slots=True)
class Page:
    """What was fetched. ``url`` is where it was in the end."""

    url: str
    media_type: str
    body: bytes


def is_public(address: Address) -> bool:
    """May our server connect to it for somebody else? True only for ordinary addresses of the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _V4_REFUSED)
    if address.scope_id is not None or address not in _V6_PUBLIC:
        return False
    return not any(address in block for block in _V6_REFUSED)


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def connect(address: str, port: int, timeout: float) -> socket.socket:
    return socket.create_connection((address, port), timeout)


class Fetcher:
    """GETs pages from the hosts of ``allowed``: ``example.org`` is that host, ``.example.org`` it and everything below.

    ``resolver`` and ``connector`` are for tests, and for whoever has a resolver of his own.
    """

    def __init__(
        self,
        allowed: Iterable[str],
        *,
        total_s: float = 30.0,
        resolver: Resolver = resolve,
        connector: Connector = connect,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = [host.lower().rstrip(".") for host in allowed]
        self._total_s = total_s
        self._resolver = resolver
        self._connector = connector
        self._tls = tls

    def get(self, url: str, *, max_bytes: int) -> Page:
        """The page. Raises ``Blocked`` and ``FetchFailed``."""
        until = time.monotonic() + self._total_s
        for _ in range(REDIRECTS_MAX + 1):
            parts, host = self.checked(url)
            found = self._ask(parts, host, until, max_bytes)
            if isinstance(found, Page):
                return found
            target = urljoin(url, found)
            if parts.scheme == "https" and urlsplit(target).scheme == "http":
                raise Blocked("The page redirects from https to http, which is not followed.")
            url = target
        raise FetchFailed(f"The page redirects more than {REDIRECTS_MAX} times.")

    def checked(self, url: str) -> tuple[SplitResult, str]:
        """The parts of an address that may be asked as far as its text goes, and its host in ASCII. Raises ``Blocked``."""
        if not url.isprintable() or any(char.isspace() or char == "\\" for char in url):
            raise Blocked("The address contains characters that no address has.")
        try:
            parts = urlsplit(url)
            port = parts.port
            host = (parts.hostname or "").rstrip(".").encode("idna").decode().lower()
        except ValueError as error:
            raise Blocked("That is not a web address.") from error
        if parts.scheme not in PORTS or not host:
            raise Blocked("Only http and https addresses are fetched.")
        if port is not None and port != PORTS[parts.scheme]:
            raise Blocked("Only the default ports, 80 and 443, are fetched from.")
        if parts.username is not None or parts.password is not None:
            raise Blocked("Addresses with a user name are not fetched.")
        if not self._is_listed(host):
            detail = (
                "Fetching is switched off here."
                if not self._allowed
                else f"{host} is not on the list of hosts to fetch from."
            )
            raise Blocked(detail)
        return parts, host

    def _is_listed(self, host: str) -> bool:
        return any(
            host == name.removeprefix(".") or (name.startswith(".") and host.endswith(name)) for name in self._allowed
        )

    def _ask(self, parts: SplitResult, host: str, until: float, max_bytes: int) -> Page | str:
        """The page, or where it redirects to."""
        port = PORTS[parts.scheme]
        address = self._public_address(host, port)
        try:
            with self._connected(address, port, parts.scheme, host, until) as sock:
                connection = http.client.HTTPConnection(host, port, timeout=_left(until))
                connection.sock = sock
                path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
                    "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._") if parts.query else ""
                )
                shown = f"[{host}]" if ":" in host else host
                connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
                for name, value in (
                    ("Host", shown),
                    ("User-Agent", _AGENT),
                    ("Accept-Encoding", "identity"),
                    ("Connection", "close"),
                ):
                    connection.putheader(name, value)
                connection.endheaders()
                return self._answer(parts.geturl(), sock, connection.getresponse(), until, max_bytes)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FetchFailed(f"{host} did not answer: {type(error).__name__}.") from error

    def _answer(
        self, url: str, sock: socket.socket, response: http.client.HTTPResponse, until: float, max_bytes: int
    ) -> Page | str:
        target = response.getheader("Location")
        if response.status in _REDIRECTS and target:
            return target
        if response.status != 200:
            raise FetchFailed(f"The server answered {response.status}.")
        if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
            raise FetchFailed("The server sent a compressed page, which was not asked for.")
        if (response.length or 0) > max_bytes:
            raise FetchFailed(f"The page has more than {max_bytes} bytes.")
        body = bytearray()
        while True:
            sock.settimeout(_left(until))
            chunk = response.read1(_CHUNK)
            if not chunk:
                break
            body += chunk
            if len(body) > max_bytes:
                raise FetchFailed(f"The page has more than {max_bytes} bytes.")
        if response.length:
            raise FetchFailed("The server broke off before the end of the page.")
        return Page(url, response.headers.get_content_type(), bytes(body))

    def _public_address(self, host: str, port: int) -> str:
        """The address to connect to. One that is not public spoils all: whoever controls the name controls which is used."""
        try:
            found = [host] if _is_literal(host) else list(self._resolver(host, port))
        except OSError as error:
            raise FetchFailed(f"The name {host} cannot be resolved.") from error
        if not found:
            raise FetchFailed(f"The name {host} cannot be resolved.")
        for text in found:
            try:
                address = ipaddress.ip_address(text)
            except ValueError as error:
                raise Blocked(f"{host} resolves to something that is no address.") from error
            if not is_public(address):
                raise Blocked(f"{host} is not on the public internet.")
        return found[0]

    def _connected(self, address: str, port: int, scheme: str, host: str, until: float) -> socket.socket:
        sock = self._connector(address, port, _left(until))
        if scheme == "http":
            return sock
        try:
            sock.settimeout(_left(until))
            return (self._tls or ssl.create_default_context()).wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise


def _left(until: float) -> float:
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("no time is left")
    return seconds


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
