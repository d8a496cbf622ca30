"""What must follow signing in and out and a new password wherever it happens (our page, the admin, allauth): the signals of Django
and allauth are the one place that they share."""

from __future__ import annotations

from typing import Any

from allauth.account import signals
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver

from accounts import audit
from accounts.models import User
from accounts.models_audit import Outcome
from realtime import nudge


@receiver(user_logged_out)
def check_sockets(user: User | None, **_: Any) -> None:
    """The user's live connections are checked again at once, and those of this login end."""
    if user is not None:
        nudge.sign_out(user.pk)
        audit.record("user.signed_out", user, by=user)


@receiver(user_logged_in)
def record_sign_in(user: User, **_: Any) -> None:
    audit.record("user.signed_in", user, by=user)


@receiver(user_login_failed)
def record_refusal(credentials: dict[str, Any], **_: Any) -> None:
    """Not for unknown addresses: strangers fill no table, and people type passwords into that field."""
    user = User.objects.by_email(str(credentials.get("username") or credentials.get("email") or "")).first()
    if user is not None:
        audit.record("user.signed_in", user, outcome=Outcome.REFUSED)


@receiver([signals.password_set, signals.password_changed, signals.password_reset])
def record_password(user: User, **_: Any) -> None:
    audit.record("user.password_changed", user, by=user)


@receiver(signals.user_signed_up)
def record_sign_up(user: User, **_: Any) -> None:
    audit.record("user.created", user, by=user)
