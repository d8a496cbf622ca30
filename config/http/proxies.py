"""Whose word about the caller's address counts: that of the proxies which ``TRUSTED_PROXIES`` names, and nobody else's.

A forwarded header from any other peer is taken off the request before anybody reads it. A trusted proxy appends the address that it
saw, so the caller is the last one in the list that is not itself a proxy of ours; what stands before it, the caller may have made up.
Only the one header is read which the proxy is known to write: the other, it would pass on as it came. Uvicorn's own reading of these
headers is off (``config.web``).
"""

from __future__ import annotations

import ipaddress
import re
from functools import cache
from typing import Final

from django.conf import settings
from django.http import HttpRequest

from config.http.around import Around

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
HEADERS: Final = {"x-forwarded-for": "HTTP_X_FORWARDED_FOR", "forwarded": "HTTP_FORWARDED"}
_FORWARDED: Final = (
    *HEADERS.values(),
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_REAL_IP",
)
_FOR: Final = re.compile(r'(?:^|[;\s])for=("[^"]*"|[^;,\s]*)', re.IGNORECASE)  # RFC 7239, section 4


class TrustedProxies(Around):
    def before(self, request: HttpRequest) -> None:
        networks = _networks(tuple(settings.TRUSTED_PROXIES))
        if not _is_within(request.META.get("REMOTE_ADDR", ""), networks):
            for name in _FORWARDED:
                request.META.pop(name, None)
        elif caller := _caller(request, networks):
            request.META["REMOTE_ADDR"] = caller


def _caller(request: HttpRequest, networks: tuple[Network, ...]) -> str | None:
    """The nearest address that is none of ours; None when the list says nothing (or nonsense) about it."""
    for text in reversed(_hops(request.META.get(HEADERS[settings.PROXY_HEADER], ""))):
        address = _address(text)
        if address is None:
            return None  # what stands before a hop that hides itself proves nothing
        if not _is_within(address, networks):
            return address
    return None


def _hops(value: str) -> list[str]:
    hops = [part.strip() for part in value.split(",") if part.strip()]
    if settings.PROXY_HEADER == "forwarded":
        return [found[1].strip('"') if (found := _FOR.search(hop)) else "" for hop in hops]
    return hops


def _address(text: str) -> str | None:
    """Of ``192.0.2.1``, ``192.0.2.1:443``, ``2001:db8::1`` or ``[2001:db8::1]:443``."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))  # a zone is the proxy's own matter
    except ValueError:
        return None


def _is_within(text: str, networks: tuple[Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in networks)


@cache
def _networks(names: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(name) for name in names)
