"""Who calls: a program by its key, a browser by its session, an app by its session's token."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from accounts import keys, logins, services
from accounts.keyformat import PREFIX
from accounts.models import ApiKey, User
from accounts.scopes import MEANINGS


class ApiKeyAuthentication(authentication.BaseAuthentication):
    """``Authorization: Bearer qk_…``. Other schemes are someone else's; a Bearer that is not a live key is 401.

    A wrong key beside a good cookie is refused too: the caller named the credential it wants to be judged by. ``request.auth`` is the
    key; for a browser's session it is None.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        scheme, _, secret = request.headers.get("Authorization", "").strip().partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = keys.live_key(secret.strip(), services.client_ip(request._request))
        if key is None:
            raise exceptions.AuthenticationFailed("The API key is unknown, revoked or expired.")
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionAuthentication(authentication.SessionAuthentication):
    """The sign-in cookie. DRF's own enforces CSRF on every unsafe request that it authenticates (403 without a token)."""


class SessionTokenAuthentication(authentication.BaseAuthentication):
    """``X-Session-Token``, which apps are given at ``/_allauth/app/v1``. It needs no CSRF token: no browser sends it by itself."""

    def authenticate(self, request: Request) -> tuple[User, SessionBase] | None:
        token = request.headers.get("X-Session-Token", "").strip()
        if not token:
            return None
        inner = HttpRequest()
        inner.META = request._request.META
        inner.session = import_module(settings.SESSION_ENGINE).SessionStore(token)
        logins.note_visitor(inner)
        user = get_user(inner)
        if not isinstance(user, User):
            raise exceptions.AuthenticationFailed("The session token is unknown, or its session has ended.")
        return user, inner.session

    def authenticate_header(self, request: Request) -> str:
        return "X-Session-Token"


def session_of(request: Request) -> SessionBase | None:
    """The login session that the caller was recognised by; None for a program with a key."""
    if isinstance(request.auth, SessionBase):
        return request.auth
    by_cookie = isinstance(request.successful_authenticator, SessionAuthentication)
    return request._request.session if by_cookie else None


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself; untyped upstream
    target_class = "accounts.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_requirement(self, auto_schema: Any) -> dict[str, list[str]] | None:  # type: ignore[override]  # None is handled
        """The scopes that the operation needs, as OpenAPI 3.1 allows for every scheme; None where no key may."""
        from accounts.api.scopes import needed

        scopes = needed(auto_schema.view, auto_schema.method)
        return None if scopes is None else {"apiKey": [str(scope) for scope in scopes]}

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        scopes = "; ".join(f"`{scope}`: {meaning}" for scope, meaning in MEANINGS.items())
        description = f"An API key. Each operation names the scopes that a key needs, all of them. {scopes}."
        return {"type": "http", "scheme": "bearer", "bearerFormat": f"{PREFIX}…", "description": description}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself; untyped upstream
    target_class = "accounts.api.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


class SessionTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself; untyped upstream
    target_class = "accounts.api.authentication.SessionTokenAuthentication"
    name = "sessionToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-Session-Token"}
