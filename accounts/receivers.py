"""What must follow a sign-in, a sign-out and a change of password wherever it happens (our pages, the admin, allauth, the console):
the signals of Django and allauth are the one place that they share."""

from __future__ import annotations

from typing import Any

from allauth.account import signals
from allauth.mfa import signals as mfa_signals
from allauth.mfa.models import Authenticator
from allauth.socialaccount import signals as social_signals
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import audit, departures, logins, services
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


@receiver(user_logged_in)
def call_deletion_off(user: User, **_: Any) -> None:
    """Whoever signs in again keeps their account."""
    departures.cancel(user, by=user)


@receiver(user_login_failed)
def record_refusal(credentials: dict[str, Any], **_: Any) -> None:
    """Not for unknown addresses: strangers fill no table, and people type passwords into that field."""
    user = User.objects.by_email(str(credentials.get("username") or credentials.get("email") or "")).first()
    if user is not None:
        audit.record("user.signed_in", user, outcome=Outcome.REFUSED)


@receiver([signals.password_set, signals.password_changed, signals.password_reset])
def record_password(user: User, **_: Any) -> None:
    audit.record("user.password_changed", user, by=user)


@receiver(mfa_signals.authenticator_added)
def record_factor(user: User, authenticator: Authenticator, **_: Any) -> None:
    audit.record("user.factor_added", user, by=user, type=str(authenticator.type))


@receiver(mfa_signals.authenticator_removed)
def record_lost_factor(user: User, authenticator: Authenticator, **_: Any) -> None:
    audit.record("user.factor_removed", user, by=user, type=str(authenticator.type))


@receiver([signals.email_added, signals.email_changed, signals.email_removed])
def record_address(user: User, **_: Any) -> None:
    audit.record("user.changed", user, by=user, fields=["email"])


@receiver([social_signals.social_account_added, social_signals.social_account_removed])
def record_sign_in_elsewhere(request: HttpRequest, **about: Any) -> None:
    user = about["sociallogin"].user if "sociallogin" in about else about["socialaccount"].user
    audit.record("user.changed", user, by=user, fields=["sign_in_elsewhere"])


@receiver(signals.user_signed_up)
def record_sign_up(user: User, **_: Any) -> None:
    audit.record("user.created", user, by=user)


@receiver(user_logged_in)
def note_device(request: HttpRequest | None, user: User, **_: Any) -> None:
    """allauth makes a session of its own for an app, which our middleware has not seen; and the answer to this request makes the
    browser known to the account (``LoginSessionMiddleware``)."""
    if request is not None:
        logins.note_visitor(request)
        services.record_sign_in(request, user.email, succeeded=True)
        request.signed_in = user  # type: ignore[attr-defined]  # for our middleware


@receiver(post_save, sender=User)
def end_logins(instance: User, created: bool, **_: Any) -> None:
    """Another password ends every login. Django's own mark tells it from a mere upgrade of the hash; the login with which it was
    changed goes on under a new key (``update_session_auth_hash``)."""
    if not created and instance._password is not None:  # type: ignore[attr-defined]  # as in AbstractBaseUser.save
        logins.end_all(instance)
