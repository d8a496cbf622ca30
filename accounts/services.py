"""Every change to accounts: keys given out and withdrawn, callers recognised, sign-ins recorded."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import KEY_PREFIX, ApiKey, SignIn, User
from realtime import nudge
from realtime.errors import InvalidInput, NotFound

logger = logging.getLogger(__name__)

LAST_USED_RESOLUTION = timedelta(minutes=1)  # a busy program would otherwise write its key's row on every request
_SHOWN_PREFIX = 10  # "qk_" and seven characters: 42 of 256 bits, enough to tell keys apart and no help in guessing


def create_api_key(user: User, name: str, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    """A new key and its plaintext, which is stored nowhere: show it now. ``InvalidInput`` for a bad name or a past expiry."""
    name = name.strip()
    if not 1 <= len(name) <= 80 or "\x00" in name:
        raise InvalidInput("A key needs a name of 1 to 80 characters.", code="bad_key_name")
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidInput("A key must expire in the future.", code="bad_key_expiry")
    plaintext = ApiKey.generate()
    key = ApiKey.objects.create(
        user=user, name=name, prefix=plaintext[:_SHOWN_PREFIX], digest=ApiKey.hash(plaintext), expires_at=expires_at
    )
    return key, plaintext


def revoke_api_key(key: ApiKey) -> None:
    """Ends a key at once and for ever; harmless when it has ended already."""
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
    key.refresh_from_db(fields=["revoked_at"])
    nudge.sign_out(key.user_id)


def recheck_sockets(user: User) -> None:
    """After the commit, every live connection of the user asks again whether it may stay: for changes of who may sign in and how."""
    transaction.on_commit(lambda: nudge.sign_out(user.pk), robust=True)


def update_profile(user: User, changes: Mapping[str, str]) -> User:
    """Sets ``name``, which must not contain NUL; the e-mail address changes only after it was verified (allauth)."""
    name = changes.get("name", user.name).strip()
    if "\x00" in name:
        raise InvalidInput("A name has no NUL in it.", code="bad_name")
    User.objects.filter(pk=user.pk).update(name=name)
    user.refresh_from_db(fields=["name"])
    return user


def key_of(user: User, key_id: UUID) -> ApiKey:
    """One of this user's keys; ``NotFound`` also for another user's."""
    try:
        return user.api_keys.get(pk=key_id)
    except ApiKey.DoesNotExist as error:
        raise NotFound("There is no such key.") from error


_USER_FIELDS = [field.attname for field in User._meta.concrete_fields]
# Prepared, not made by the ORM: every request of a program runs it, and every socket that comes back after a cut.
_KEY_OWNER = f"""
    SELECT key.id, key.last_used_at, {", ".join(f'owner."{field.column}"' for field in User._meta.concrete_fields)}
    FROM accounts_apikey AS key JOIN accounts_user AS owner ON owner.id = key.user_id
    WHERE key.digest = %s AND key.revoked_at IS NULL AND (key.expires_at IS NULL OR key.expires_at > %s) AND owner.is_active
"""  # noqa: S608  # names of columns


def user_for_key(key: str) -> User | None:
    """The active user behind a live key, else None.

    The lookup is by digest, so its time tells nothing about the stored keys, and every well-formed key costs the same one
    hash and one indexed query whether it is unknown, revoked, expired or its user is inactive.
    """
    if not key.startswith(KEY_PREFIX) or len(key) > 200:
        return None
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_KEY_OWNER, [ApiKey.hash(key), now])
        found = cursor.fetchone()
    if found is None:
        return None
    key_id, last_used_at, *owner = found
    _note_use(key_id, last_used_at, now)
    return User.from_db(connection.alias, _USER_FIELDS, owner)


def _note_use(key_id: UUID, last_used_at: datetime | None, now: datetime) -> None:
    stale = now - LAST_USED_RESOLUTION
    if last_used_at is None or last_used_at < stale:
        unnoted = Q(last_used_at=None) | Q(last_used_at__lt=stale)
        ApiKey.objects.filter(unnoted, pk=key_id).update(last_used_at=now)


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
    """The peer's address as the server saw it; forwarded headers are uvicorn's business (``--proxy-headers``)."""
    address = request.META.get("REMOTE_ADDR", "") if request else ""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:  # a Unix socket has no address
        return None
