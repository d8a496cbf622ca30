"""What must follow a sign-in, a sign-out and a change of password wherever it happens (our pages, the admin, allauth, the console):
Django's signals are the one place they share."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import logins, services
from accounts.models import User
from realtime import nudge


@receiver(user_logged_out)
def check_sockets(user: User | None, **_: Any) -> None:
    """The user's live connections are checked again at once, and those of this login end."""
    if user is not None:
        nudge.sign_out(user.pk)


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
