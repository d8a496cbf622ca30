"""Startup checks: a wrong deployment is told so in one line each, before it serves anybody."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

_RATE = re.compile(r"\d+/\d*[smhd]")


@register
def rates(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    return [
        Error(
            f"RATE_LIMIT_{name.upper()} is {rate!r}; it must look like 600/m (s, m, h, d) or be empty", id="quorum.E001"
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
