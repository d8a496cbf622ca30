"""Which model a seat speaks with. A seat's ``model`` names any model of the default endpoint; empty is the default model."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from django.conf import settings

from council.llm.types import Endpoint, ProviderName, Style
from realtime.errors import Unavailable


def default_endpoint() -> Endpoint:
    if not settings.LLM_BASE_URL or not settings.LLM_MODEL:
        raise Unavailable("no model is configured: set LLM_BASE_URL and LLM_MODEL", code="no_model")
    return Endpoint(
        base_url=settings.LLM_BASE_URL,
        model=settings.LLM_MODEL,
        provider=cast("ProviderName", settings.LLM_PROVIDER),
        api_key=settings.LLM_API_KEY,
        style=cast("Style", settings.LLM_STYLE),
    )


def endpoint_for(model: str) -> Endpoint:
    """Raises ``Unavailable`` when no model is configured."""
    endpoint = default_endpoint()
    if not model or model == endpoint.model:
        return endpoint
    return replace(endpoint, model=model)
