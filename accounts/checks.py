"""Startup checks of accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register


@register(Tags.urls)
def scopes(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Keys would be refused there; that nobody decided so is the fault."""
    from accounts.api.scopes import undeclared  # it imports views, which need all apps

    return [Error(f"{what}: no scopes are declared (accounts.scopes)", id="quorum.E020") for what in undeclared()]
