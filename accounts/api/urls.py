"""How API paths are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path
from django.views import View


def route(pattern: str, view: type[View] | Callable[..., Any], name: str) -> list[URLPattern]:
    """The pattern without and with a trailing slash (``APPEND_SLASH`` is off: a redirect would lose a POST's body).

    ``view`` is a view class or a ready callable. ``reverse(name)`` gives the form without the slash.
    """
    pattern = pattern.rstrip("/")
    as_view = getattr(view, "as_view", None)
    endpoint: Callable[..., Any] = as_view() if as_view else view
    return [path(pattern, endpoint, name=name), path(f"{pattern}/", endpoint)]
