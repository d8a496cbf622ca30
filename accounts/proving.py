"""Showing again that one is who one is, before something that cannot be undone: by the password, or by having signed in just now."""

from __future__ import annotations

import time
from typing import Any, Final

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils import timezone

from accounts import sign_in_guard
from accounts.errors import NotProved
from accounts.models import LoginSession, User

_RECORDS: Final = (
    "account_authentication_methods"  # allauth's, of this very login: sign-in, second factor, reauthentication
)


def require(
    request: HttpRequest, user: User, session: SessionBase | None, password: str | None = None, proof: str = ""
) -> None:
    """Raises ``NotProved`` (``wrong_password`` for one that is), and for guesses what ``sign_in_guard.admit`` does."""
    if password is not None:
        sign_in_guard.admit(request, user.email, proof)
        if not user.check_password(password):
            raise NotProved("The password is wrong.", code="wrong_password")
    elif session is None or not is_recent(session):
        raise NotProved("Send your password, or sign in again and repeat this within five minutes.")


def is_recent(session: SessionBase) -> bool:
    """Whether its owner signed in with it, or proved themselves again, a moment ago (``ACCOUNT_REAUTHENTICATION_TIMEOUT``)."""
    most = settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    records: Any = session.get(_RECORDS, [])
    if any(time.time() - one["at"] < most for one in records if isinstance(one.get("at"), int | float)):
        return True
    login = LoginSession.objects.filter(digest=LoginSession.hash(session.session_key or "")).first()
    return login is not None and (timezone.now() - login.created_at).total_seconds() < most
