"""Which model a seat speaks with.

A seat's ``model`` is the slug of a profile, or the name of any model of the default endpoint; empty is the default model, and
``human`` none at all: that seat is a person's, and no route leads there. A profile leads to a *route*: itself, then its
fallbacks. Every place that calls a model asks here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

from django.conf import settings

from accounts import vault
from council import pricing
from council.deliberation.types import HUMAN
from council.limits import NO_LIMITS, Limits
from council.llm.types import Endpoint, ProviderName, SchemaSupport, Style
from council.models import ModelProfile
from council.pricing import Prices
from realtime.addresses import reachable
from realtime.errors import Unavailable

KEEP_S = 3.0  # how long a process goes by the profiles that it has read
FALLBACKS_MAX = 5


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be called, and its terms. ``profile`` is empty for the default endpoint; ``prices`` None are unknown."""

    endpoint: Endpoint
    profile: str = ""
    prices: Prices | None = None
    limits: Limits = NO_LIMITS
    timeout_s: float | None = None
    context_window: int | None = None
    tools: bool = False  # it can call tools, as far as whoever set it up knows
    moves_on: frozenset[str] = frozenset()  # codes of the errors after which the next of the route is asked


Route = tuple[Model, ...]


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


def route_for(model: str) -> Route:
    """The models to ask, in order; never empty. Raises ``Unavailable`` (no_model, key_unreadable)."""
    if model and (profile := _book.get(model)) is not None:
        return _route(profile)
    endpoint = default_endpoint()
    known = pricing.prices(settings.LLM_PRICE_IN, settings.LLM_PRICE_OUT, settings.LLM_PRICE_CACHED)
    if not model or model == endpoint.model:
        return (Model(endpoint, prices=known, tools=settings.LLM_TOOLS),)
    return (
        Model(replace(endpoint, model=model), tools=settings.LLM_TOOLS),
    )  # another model, whose price nobody has told us


def _route(profile: ModelProfile) -> Route:
    found = tuple(as_model(one) for one in chain(profile) if one.enabled)
    if not found:
        raise Unavailable(f"the model profile {profile.slug} is switched off", code="no_model")
    return found


def chain(profile: ModelProfile) -> Iterator[ModelProfile]:
    """The profile and its fallbacks. Ends, whatever rows say: saving refuses circles, but two people may save at once."""
    seen: list[ModelProfile] = []
    step: ModelProfile | None = profile
    while step is not None and step not in seen and len(seen) <= FALLBACKS_MAX:
        yield step
        seen.append(step)
        step = _book.by_id(step.fallback_id) if step.fallback_id else None


def as_model(profile: ModelProfile) -> Model:
    """Raises ``vault.SealBroken``."""
    return Model(
        endpoint=Endpoint(
            base_url=profile.base_url,
            model=profile.model,
            provider=cast("ProviderName", profile.provider),
            api_key=vault.unseal(profile.sealed_key),
            style=cast("Style", profile.style),
            schema=cast("SchemaSupport", profile.schema),
            allows=may_be_called,
        ),
        profile=profile.slug,
        prices=pricing.prices(profile.price_in, profile.price_out, profile.price_cached),
        limits=Limits(
            str(profile.pk),
            profile.max_concurrent or 0,
            profile.requests_per_minute or 0,
            profile.tokens_per_minute or 0,
            float(profile.wait_s),
        ),
        timeout_s=profile.timeout_s,
        context_window=profile.context_window,
        tools=profile.tools,
        moves_on=frozenset(profile.moves_on),
    )


def may_be_called(address: str) -> bool:
    """May our workers connect to it for a profile? Public addresses, and those of ``LLM_PRIVATE_NETWORKS``."""
    return reachable(address, settings.LLM_PRIVATE_NETWORKS)


def check_models(models: Iterable[str]) -> None:
    """Raises ``Unavailable`` when one of them leads nowhere: better said at the start than by every turn."""
    for model in _asked(models):
        route_for(model)


def unpriced(models: Iterable[str]) -> list[str]:
    """Those that may be asked and whose price is unknown, so that no budget in money can be kept with them."""
    return [
        model or settings.LLM_MODEL for model in _asked(models) if any(step.prices is None for step in route_for(model))
    ]


def _asked(models: Iterable[str]) -> list[str]:
    """Each once; nobody calls a person."""
    return [model for model in dict.fromkeys(models) if model != HUMAN]


class _Book:
    """The profiles as this process has read them, at most ``KEEP_S`` ago: no turn pays for a statement of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._profiles: Mapping[str, ModelProfile] = {}

    def get(self, slug: str) -> ModelProfile | None:
        return self._read().get(slug)

    def by_id(self, pk: object) -> ModelProfile | None:
        return next((profile for profile in self._read().values() if profile.pk == pk), None)

    def forget(self) -> None:
        with self._lock:
            self._read_at = None

    def _read(self) -> Mapping[str, ModelProfile]:
        with self._lock:
            if self._read_at is None or time.monotonic() - self._read_at > KEEP_S:
                self._profiles = {profile.slug: profile for profile in ModelProfile.objects.all()}
                self._read_at = time.monotonic()
            return self._profiles


_book = _Book()
forget = _book.forget
