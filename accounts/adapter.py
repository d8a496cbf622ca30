"""allauth's decisions that are ours."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.headless.tokens.strategies.sessions import SessionTokenStrategy
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse

from accounts import logins, services, sign_in_guard, vault
from accounts.errors import ChallengeRequired, LimiterDown, RateLimited
from accounts.limits import refusal_headers
from accounts.models import User
from accounts.session_store import SessionStore

Refusal = RateLimited | ChallengeRequired | LimiterDown


class AccountAdapter(DefaultAccountAdapter):
    """Accounts are given out by staff unless ``SIGNUP_OPEN`` says otherwise; attempts are counted like everywhere else."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP_OPEN)

    def get_client_ip(self, request: HttpRequest) -> str:
        return services.client_ip(request) or "unknown"

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """In place of allauth's own counters, which lock an account for everybody and lose count when many come at once."""
        email, proof = str(credentials.get("email", "")), request.headers.get(sign_in_guard.PROOF_HEADER, "")
        try:
            sign_in_guard.admit(request, email, proof)
        except (RateLimited, ChallengeRequired, LimiterDown) as error:
            if hasattr(request.allauth, "headless"):  # type: ignore[attr-defined]  # allauth's middleware sets it
                raise ImmediateHttpResponse(_refused(request, error)) from error
            raise ValidationError(error.detail, code=error.code) from error

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        services.record_sign_in(request, str(credentials.get("email", "")), succeeded=False)

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        """Staff vouch for the addresses of the accounts that they gave out; those who signed up themselves have a row already."""
        if not kwargs.get("signup") and not EmailAddress.objects.filter(user=user).exists():
            EmailAddress.objects.get_or_create(
                user=user, email=user.email.lower(), defaults={"primary": True, "verified": True}
            )
        response: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return response


class TokenStrategy(SessionTokenStrategy):
    """The token of an app is the key of its login session; using it keeps the session awake, as a browser's requests do."""

    request: HttpRequest

    def get_session_token(self, request: HttpRequest) -> str | None:
        self.request = request
        token: str | None = super().get_session_token(request)
        return token

    def lookup_session(self, session_token: str) -> SessionBase | None:
        session = SessionStore(session_token)
        session.visitor = logins.visitor(self.request)
        session.get(SESSION_KEY)  # loads it; one that has ended loses its key
        return session if session.session_key else None


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Who may sign in with us by another server may do so without ``SIGNUP_OPEN``: that server gives out the accounts."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return bool(settings.SIGNUP_OPEN or settings.OIDC_SERVER_URL)


class MfaAdapter(DefaultMFAAdapter):
    """What second factors are made from is sealed in the database, like the keys of model profiles."""

    def encrypt(self, text: str) -> str:
        return vault.seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        return vault.unseal(encrypted_text)


def _refused(request: HttpRequest, error: Refusal) -> JsonResponse:
    """As ``config.api``, which stands above this app, would say it; ``challenge`` is what the next attempt has to answer."""
    status = HTTPStatus.SERVICE_UNAVAILABLE if isinstance(error, LimiterDown) else HTTPStatus.TOO_MANY_REQUESTS
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": error.detail,
        "code": error.code,
        "errors": [],
        "request_id": request.META.get("HTTP_X_REQUEST_ID", ""),
    }
    headers: dict[str, str] = {}
    if isinstance(error, ChallengeRequired):
        body["challenge"] = error.challenge
    elif isinstance(error, RateLimited):
        headers = refusal_headers(error)
    else:
        headers["Retry-After"] = str(error.retry_after)
    return JsonResponse(body, status=status, headers=headers, content_type="application/problem+json")
