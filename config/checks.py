"""Startup checks: a wrong deployment is told so in one line each, before it serves anybody."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from realtime import failpoints

_RATE = re.compile(r"\d+/\d*[smhd]")


@register
def rates(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    return [
        Error(
            f"RATE_LIMIT_{name.upper()} is {rate!r}; it must look like 600/m (s, m, h, d) or be off", id="quorum.E001"
        )
        for name, rate in settings.RATE_LIMITS.items()
        if rate and not _RATE.fullmatch(rate)
    ]


@register
def embeddings(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    if not settings.EMBEDDING_BASE_URL or settings.EMBEDDING_MODEL:
        return []
    return [Error("EMBEDDING_BASE_URL needs EMBEDDING_MODEL as well", id="quorum.E002")]


@register
def model(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    if not settings.LLM_BASE_URL or settings.LLM_MODEL:
        return []
    return [Error("LLM_BASE_URL needs LLM_MODEL as well", id="quorum.E003")]


@register
def prices(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    if (settings.LLM_PRICE_IN is None) == (settings.LLM_PRICE_OUT is None):
        return []
    return [Error("LLM_PRICE_IN and LLM_PRICE_OUT are set together or not at all", id="quorum.E010")]


@register
def private_networks(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    return [
        Error(f"LLM_PRIVATE_NETWORKS: {network!r} is no network; write 10.1.0.0/16", id="quorum.E011")
        for network in settings.LLM_PRIVATE_NETWORKS
        if not _is_network(network)
    ]


@register
def webhook_networks(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    return [
        Error(f"WEBHOOK_PRIVATE_NETWORKS: {network!r} is no network; write 10.1.0.0/16", id="quorum.E021")
        for network in settings.WEBHOOK_PRIVATE_NETWORKS
        if not _is_network(network)
    ]


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


@register
def trusted_proxies(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    return [
        Error(f"TRUSTED_PROXIES: {network!r} is no network; write 10.1.0.0/16", id="quorum.E022")
        for network in settings.TRUSTED_PROXIES
        if not _is_network(network)
    ]


@register
def crash_tests(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    why_not = failpoints.refused(settings.FAILPOINTS, allowed=settings.ALLOW_FAILPOINTS, https=settings.HTTPS)
    return [Error(f"QUORUM_FAILPOINTS: {why_not}", id="quorum.E014")] if why_not else []


@register
def encryption_keys(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    if all(len(key) >= 32 for key in settings.ENCRYPTION_KEYS):
        return []
    return [Error("ENCRYPTION_KEYS: each must be random and have at least 32 characters", id="quorum.E012")]
