"""Who calls: a program by its key, or a browser by its session."""

from __future__ import annotations

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from accounts import services
from accounts.models import KEY_PREFIX, User


class ApiKeyAuthentication(authentication.BaseAuthentication):
    """``Authorization: Bearer qk_…``. Other schemes are someone else's; a Bearer that is not a live key is 401.

    A wrong key beside a good cookie is refused too: the caller named the credential it wants to be judged by.
    """

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        scheme, _, key = request.headers.get("Authorization", "").strip().partition(" ")
        if scheme.lower() != "bearer":
            return None
        user = services.user_for_key(key.strip())
        if user is None:
            raise exceptions.AuthenticationFailed("The API key is unknown, revoked or expired.")
        return user, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionAuthentication(authentication.SessionAuthentication):
    """The sign-in cookie. DRF's own enforces CSRF on every unsafe request that it authenticates (403 without a token)."""


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself; untyped upstream
    target_class = "accounts.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": f"{KEY_PREFIX}…"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself; untyped upstream
    target_class = "accounts.api.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        from django.conf import settings

        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
