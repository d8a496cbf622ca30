"""How often one caller may do something: the one place that counts.

Rates are ``settings.RATE_LIMITS[policy]`` ("600/m"; empty or absent means no limit). django-ratelimit counts in the cache
"limits", in fixed windows.

When the cache does not answer it would raise (its issue 333: ``RATELIMIT_FAIL_OPEN`` never sees Redis' errors), so
that is decided here: guarded doors (sign-in) stay shut, everything else stays open, and after one failure the counter is
left alone for a few seconds so that a frozen cache costs one request its 0.5 s and not every request.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import _split_rate, get_usage
from redis.exceptions import RedisError

from accounts.breaker import Breaker
from accounts.errors import LimiterDown, RateLimited

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of ``limit`` requests per ``period`` seconds; the window ends in ``reset`` seconds."""

    policy: str
    limit: int
    period: int
    remaining: int
    reset: int


breaker = Breaker()


def spend(request: HttpRequest, policy: str, caller: str, *, guarded: bool = False) -> Quota | None:
    """Counts one request of ``caller`` under ``policy``; None when nothing limits it.

    Raises ``RateLimited`` above the rate, and ``LimiterDown`` when the cache is down and the door is ``guarded``.
    """
    rate = settings.RATE_LIMITS.get(policy, "")
    if not rate or not settings.RATELIMIT_ENABLE:
        return None
    usage = _count(request, policy, caller, rate)
    if usage is None:
        if guarded:
            raise LimiterDown("Attempts cannot be counted at the moment. Try again in a few seconds.")
        return None
    limit, period = _split_rate(rate)
    if usage["should_limit"]:
        raise RateLimited(policy, limit, period, max(1, usage["time_left"]), usage["count"])
    return Quota(policy, limit, period, limit - usage["count"], max(0, usage["time_left"]))


def _count(request: HttpRequest, policy: str, caller: str, rate: str) -> dict[str, int] | None:
    """django-ratelimit's usage, or None when the cache does not answer."""
    if not breaker.is_open():
        return None
    try:
        usage: dict[str, int] = get_usage(
            request, group=f"quorum.{policy}", key=lambda _group, _request: caller, rate=rate, increment=True
        )
    except RedisError as error:
        breaker.trip()
        logger.warning("rate limits are not counted: the cache does not answer (%s)", type(error).__name__)
        return None
    # time_left -1 is django-ratelimit's word for "the counter vanished between two commands".
    return usage if usage["time_left"] >= 0 else None


def headers_of(quotas: Iterable[Quota]) -> dict[str, str]:
    """``RateLimit`` and ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4): a list, one item for each
    counter; none when nothing was counted."""
    known = list(quotas)
    if not known:
        return {}
    return {
        "RateLimit": ", ".join(f'"{one.policy}";r={one.remaining};t={one.reset}' for one in known),
        "RateLimit-Policy": ", ".join(f'"{one.policy}";q={one.limit};w={one.period}' for one in known),
    }


def spent(error: RateLimited) -> Quota:
    """What a refusal says about its counter."""
    return Quota(error.policy, error.limit, error.period, 0, error.retry_after)


def network_of(address: str) -> str:
    """What strangers are counted by: an IPv4 address, of IPv6 the /64 that one subscriber has to choose addresses from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network(f"{parsed}/64", strict=False)) if parsed.version == 6 else str(parsed)


def refusal_headers(error: RateLimited) -> dict[str, str]:
    """The headers of a 429: nothing remains, and when to come back."""
    return {"Retry-After": str(error.retry_after), **headers_of([spent(error)])}
