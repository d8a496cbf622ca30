"""What must follow a sign-out wherever it happens (our page, the admin, allauth): Django's signal is the one place they share."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_out
from django.dispatch import receiver

from accounts.models import User
from realtime import nudge


@receiver(user_logged_out)
def check_sockets(user: User | None, **_: Any) -> None:
    """The user's live connections are checked again at once, and those of this login end."""
    if user is not None:
        nudge.sign_out(user.pk)
