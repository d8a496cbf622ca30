"""Scopes at the door of every view: what a key must have for a method, and the views that have not said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.errors import InsufficientScope
from accounts.models import ApiKey
from accounts.scopes import Scope
from realtime.errors import Forbidden


def needed(view: Any, method: str) -> tuple[Scope, ...] | None:
    """The scopes that a key needs for this method of a view, or of its class; None: no key may. What is not declared is closed."""
    if method == "OPTIONS":
        return ()  # says which methods there are
    declared = getattr(view, "scopes", {})
    scopes: tuple[Scope, ...] | None = declared.get("GET" if method == "HEAD" else method)
    return scopes


def check(request: Request, view: APIView) -> None:
    """Raises ``InsufficientScope``, or ``Forbidden`` where no key may. A method that the view does not have is not its business."""
    method = request.method or ""
    served = method.lower() in view.http_method_names and hasattr(view, method.lower())
    if not (served and isinstance(request.auth, ApiKey)):
        return
    scopes = needed(view, method)
    if scopes is None:
        raise Forbidden("This is for people who have signed in, not for API keys.", code="session_required")
    require(request, *scopes)


def require(request: Request, *scopes: Scope) -> None:
    """For what only the request itself shows. Raises ``InsufficientScope``; people have all scopes."""
    if isinstance(request.auth, ApiKey) and not request.auth.granted.issuperset(scopes):
        raise InsufficientScope([str(scope) for scope in scopes], request.auth.granted)


# --- Nothing is forgotten -----------------------------------------------------------------------------------------------


def undeclared() -> list[str]:
    """Views and methods of the URL configuration that do not say what a key needs for them. One that is not ours must be open to
    everybody, for it would not look at scopes."""
    from accounts.api.views import ApiView

    missing = []
    for view in dict.fromkeys(_views(get_resolver())):
        if not issubclass(view, ApiView):
            if any(one is not AllowAny for one in view.permission_classes):
                missing.append(f"{view.__module__}.{view.__qualname__} is no ApiView")
            continue
        methods = [name.upper() for name in view.http_method_names if hasattr(view, name)]
        unsaid = [method for method in methods if method not in {"OPTIONS", "HEAD"} and method not in view.scopes]
        missing += [f"{view.__module__}.{view.__qualname__} {method}" for method in unsaid]
    return missing


def _views(resolver: URLResolver) -> Iterator[type[APIView]]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern)
        elif isinstance(pattern, URLPattern) and (view := getattr(pattern.callback, "cls", None)) is not None:
            yield view
