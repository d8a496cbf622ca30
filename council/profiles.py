"""Changes of model profiles. The one place that writes them, for the admin and the console."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from accounts import audit, second_factor, vault
from accounts.webhooks import endpoints as webhooks
from council import endpoints
from council.deliberation.types import HUMAN
from council.models import ModelProfile
from council.models.profiles import MAY_MOVE_ON
from realtime.errors import FieldError, InvalidInput

FIELDS = (
    "title", "enabled", "provider", "base_url", "model", "style", "schema", "tools", "context_window", "price_in", "price_out",
    "price_cached", "max_concurrent", "requests_per_minute", "tokens_per_minute", "wait_s", "timeout_s", "fallback", "moves_on",
)  # fmt: skip


def save_profile(slug: str, values: Mapping[str, Any], *, api_key: str | None = None) -> ModelProfile:
    """Create the profile or change what ``values`` names. ``api_key``: None leaves it, "" takes it away; it is never given back.

    Raises ``InvalidInput`` with a pointer for each fault. Workers go by it within ``endpoints.KEEP_S``.
    """
    if unknown := set(values) - set(FIELDS):
        raise TypeError(f"a profile has no {', '.join(sorted(unknown))}")
    with transaction.atomic():
        profile = ModelProfile.objects.select_for_update(of=("self",)).filter(slug=slug).first() or ModelProfile(
            slug=slug
        )
        changed = sorted(name for name, value in values.items() if getattr(profile, name) != value)
        for name, value in values.items():
            setattr(profile, name, value)
        check(profile)
        if api_key is not None:
            profile.sealed_key = vault.seal(api_key)
        profile.save()
        key = "" if api_key is None else "set" if api_key else "taken away"
        audit.record("profile.saved", profile, fields=changed, key=key)
        transaction.on_commit(endpoints.forget)
    return profile


def check(profile: ModelProfile) -> None:
    errors: list[FieldError] = []
    if profile.slug == HUMAN:
        errors.append({"pointer": "/slug", "detail": "Seats that are people's have this name for a model."})
    if fault := url_fault(profile.base_url):
        errors.append({"pointer": "/base_url", "detail": fault})
    if (profile.price_in is None) != (profile.price_out is None):
        errors.append({"pointer": "/price_out", "detail": "Give both prices, or neither."})
    if unknown := [code for code in profile.moves_on if code not in MAY_MOVE_ON]:
        errors.append({"pointer": "/moves_on", "detail": f"There is no error {unknown[0]!r}."})
    if fault := _fallback_fault(profile):
        errors.append({"pointer": "/fallback", "detail": fault})
    if errors:
        raise InvalidInput(errors[0]["detail"], errors=errors)


def url_fault(url: str) -> str:
    """What is wrong with an address as far as its text goes; where its name leads is looked at when it is called."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return "This is no web address."
    if (
        parts.scheme not in {"http", "https"}
        or not host
        or not url.isprintable()
        or any(char.isspace() for char in url)
    ):
        return "This is no http or https address."
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        return "Leave out names, passwords, queries and fragments; the key has a field of its own."
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        literal = None
    if literal is not None and not endpoints.may_be_called(str(literal)):
        return "This address is private, and LLM_PRIVATE_NETWORKS does not name it."
    if parts.scheme == "http" and not settings.LLM_PRIVATE_NETWORKS:
        return "Over the internet keys and prompts travel by https only."
    return ""


def _fallback_fault(profile: ModelProfile) -> str:
    seen, step = [profile.pk], profile.fallback
    while step is not None:
        if step.pk in seen:
            return "The fallbacks go round in a circle."
        if len(seen) > endpoints.FALLBACKS_MAX:
            return f"At most {endpoints.FALLBACKS_MAX} fallbacks one after the other."
        seen.append(step.pk)
        step = step.fallback
    return ""


def delete_profile(profile: ModelProfile) -> None:
    """Seats that name it speak with the default endpoint's model of that name from then on, as with any unknown name."""
    with transaction.atomic():
        audit.record("profile.deleted", profile)
        profile.delete()
        transaction.on_commit(endpoints.forget)


def rotate_keys() -> int:
    """Seal every stored key, what second factors are made from, and webhooks' secrets anew with the first of ``ENCRYPTION_KEYS``; says
    how many.

    Raises ``vault.SealBroken``.
    """
    with transaction.atomic():
        profiles = list(ModelProfile.objects.select_for_update(of=("self",)).exclude(sealed_key=""))
        for profile in profiles:
            profile.sealed_key = vault.reseal(profile.sealed_key)
            profile.save(update_fields=["sealed_key"])
        others = second_factor.reseal() + webhooks.reseal()
        transaction.on_commit(endpoints.forget)
    return len(profiles) + others
