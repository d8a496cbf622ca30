"""Changes to accounts: sign-ins recorded, live connections asked again. Those of keys stand in ``accounts.keys``."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping

from django.db import transaction
from django.http import HttpRequest

from accounts import audit, keys
from accounts.keys import create_api_key, key_of, revoke_api_key, user_for_key
from accounts.models import SignIn, User
from realtime.errors import InvalidInput

__all__ = [
    "client_ip",
    "create_api_key",
    "key_of",
    "recheck_sockets",
    "record_sign_in",
    "revoke_api_key",
    "user_for_key",
]

logger = logging.getLogger(__name__)


def recheck_sockets(user: User) -> None:
    """After the commit, every live connection of the user asks again whether it may stay: for changes of who may sign in and how."""
    keys.recheck_sockets(user.pk)


def update_profile(user: User, changes: Mapping[str, str]) -> User:
    """Sets ``name``, which must not contain NUL; the e-mail address changes only after it was verified (allauth)."""
    name = changes.get("name", user.name).strip()
    if "\x00" in name:
        raise InvalidInput("A name has no NUL in it.", code="bad_name")
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(name=name)
        audit.record("user.changed", user, fields=["name"])
    user.refresh_from_db(fields=["name"])
    return user


def record_sign_in(request: HttpRequest | None, email: str, *, succeeded: bool) -> None:
    """Leaves a trace of an attempt. An unknown address is not written down: people type passwords into that field."""
    ip = client_ip(request)
    user = User.objects.by_email(email).first()
    if user is None:
        logger.info("sign-in refused for an unknown address from %s", ip or "an unknown place")
        return
    agent = request.headers.get("User-Agent", "")[:200].replace("\x00", "") if request else ""
    SignIn.objects.create(user=user, succeeded=succeeded, ip=ip, user_agent=agent)


def client_ip(request: HttpRequest | None) -> str | None:
    """The caller's address; ``config.http.proxies`` has asked the proxies that are trusted."""
    address = request.META.get("REMOTE_ADDR", "") if request else ""
    # A zone ("fe80::1%eth0") means something on this machine alone, and PostgreSQL takes none.
    address = address.partition("%")[0]
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:  # a Unix socket has no address
        return None
