"""Where our server connects for somebody else, and where not: one rule for every address that people can influence (SSRF).

    an import's pages      ``Policy`` and a list of hosts (``realtime.outbound.Fetcher``)
    webhooks               ``Policy`` (``realtime.outbound.Poster``)
    models, embeddings     ``reachable``, asked where the SDKs' sockets are made (``council.llm.guard``, ``realtime.transport``)

An address passes twice: its text when somebody types it in, and what its name resolves to whenever it is used. Resolved addresses must
**all** pass (whoever controls the name controls which is used), and the connection goes to one that was checked, so that a name
that leads elsewhere the second time is of no use.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

from realtime.errors import InvalidInput, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]

URL_MAX: Final = 2_000
_DEFAULT: Final = {"http": 80, "https": 443}
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"\d+|0x[0-9a-f]*")
# Names for machines of one's own (RFC 6761, 6762, 9476 and ICANN's .internal). What they resolve to is checked in any case.
_OF_ONES_OWN: Final = (".localhost", ".local", ".internal", ".home.arpa", ".intranet", ".lan")
_RESOLVERS: Final = 16  # names that a process looks up at once; a resolver that hangs keeps a thread, not its caller
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
    """The address may not be asked; nothing was connected to."""

    code = "address_blocked"


class Unresolved(Unavailable):
    code = "name_unresolved"


def is_public(address: Address) -> bool:
    """May our server connect to it for somebody else? True only for ordinary addresses of the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in _V4_REFUSED)
    if address.scope_id is not None or address not in _V6_PUBLIC:
        return False
    return not any(address in block for block in _V6_REFUSED)


def is_private(address: str, networks: Iterable[str]) -> bool:
    """Whether it lies in one of the networks that a setting opens. No other spelling of such an address (``::ffff:…``) does."""
    parsed = _parsed(address)
    return parsed is not None and any(parsed in ipaddress.ip_network(network) for network in networks)


def reachable(address: str, networks: Iterable[str]) -> bool:
    """Public, or in one of the networks that a setting opens."""
    parsed = _parsed(address)
    return parsed is not None and (is_public(parsed) or is_private(address, networks))


@dataclass(frozen=True, slots=True)
class Target:
    """An address that may be asked as far as its text goes. ``host`` is in ASCII; ``path`` begins with a slash and has the query."""

    parts: SplitResult
    host: str
    port: int

    @property
    def scheme(self) -> str:
        return self.parts.scheme

    @property
    def authority(self) -> str:
        """For the ``Host`` header."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == _DEFAULT[self.scheme] else f"{shown}:{self.port}"

    @property
    def path(self) -> str:
        query = "?" + quote(self.parts.query, safe="/?%:@!$&'()*+,;=~-._") if self.parts.query else ""
        return quote(self.parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + query


@dataclass(frozen=True)
class Policy:
    """``ports`` of the public internet that are connected to, by scheme. In the ``private`` networks, of which there are none unless a
    setting names them, every port and plain http are allowed."""

    ports: Mapping[str, Collection[int]]
    private: tuple[str, ...] = ()

    def target(self, url: str) -> Target:
        """What can be said of an address without asking anybody. Raises ``Blocked``."""
        if len(url) > URL_MAX or not url.isprintable() or any(char.isspace() or char == "\\" for char in url):
            raise Blocked("The address contains characters that no address has, or too many.")
        try:
            parts = urlsplit(url)
            port = parts.port
            host = (parts.hostname or "").removesuffix(".").encode("idna").decode().lower()
        except ValueError as error:
            raise Blocked("That is not a web address.") from error
        if parts.scheme not in _DEFAULT or not host:
            raise Blocked("Only http and https addresses are taken.")
        if parts.username is not None or parts.password is not None:
            raise Blocked("Addresses with a user name are not taken.")
        target = Target(parts, host, _DEFAULT[parts.scheme] if port is None else port)
        self._check_port(target)
        self._check_host(host)
        return target

    def admits(self, address: str, target: Target) -> bool:
        """May this address, which the target's name resolves to, be connected to?"""
        if is_private(address, self.private):
            return True
        return target.port in self.ports.get(target.scheme, ()) and reachable(address, ())

    def resolved(self, target: Target, resolver: Resolver, until: float) -> list[str]:
        """The addresses to connect to. Raises ``Blocked`` when one of them may not be, ``Unresolved``."""
        found = looked_up(target.host, target.port, resolver, until)
        if not all(self.admits(address, target) for address in found):
            raise Blocked(f"{target.host} is not on the public internet.")
        return found

    def _check_port(self, target: Target) -> None:
        if self.private or target.port in self.ports.get(target.scheme, ()):
            return
        allowed = ", ".join(f"{scheme} to {port}" for scheme, ports in self.ports.items() for port in sorted(ports))
        raise Blocked(f"Not with this scheme and port: {allowed} {'is' if ',' not in allowed else 'are'} allowed.")

    def _check_host(self, host: str) -> None:
        address = _parsed(host)
        if address is not None:
            if not reachable(host, self.private):
                raise Blocked(f"{host} is not on the public internet.")
            return
        labels = host.split(".")
        # A name that ends in a number is an IPv4 address to those who connect: 2130706433, 0x7f.1, 127.1 (WHATWG URL, 3.5).
        if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)) or _NUMBER.fullmatch(labels[-1]):
            raise Blocked("The address names no host.")
        if not self.private and (len(labels) == 1 or f".{host}".endswith(_OF_ONES_OWN)):
            raise Blocked(f"{host} is not on the public internet.")


def system_resolver(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def left(until: float) -> float:
    """Seconds until then (of the monotonic clock). Raises ``TimeoutError`` when there are none."""
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("no time is left")
    return seconds


def looked_up(host: str, port: int, resolver: Resolver, until: float) -> list[str]:
    """What a name resolves to, in time: the system's resolver has no time-out of its own. Raises ``Unresolved``."""
    if _parsed(host) is not None:
        return [host]
    try:
        found = list(_threads(os.getpid()).submit(resolver, host, port).result(left(until)))
    except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
        raise Unresolved(f"The name {host} cannot be resolved.") from error
    if not found:
        raise Unresolved(f"The name {host} cannot be resolved.")
    return found


@cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Of this process: a fork inherits no threads."""
    return ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")


def _parsed(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
