"""Who opens a socket or a stream: a browser by its session cookie and its exact Origin, a program by its key, an app by the token
of its session, a page elsewhere by a ticket.

    Refused                a Close code: the watcher must go, and why; ``needed``: the scopes that its key would need
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user, get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from realtime import tickets
from realtime.frames import Close

DEFAULT_PORTS = {"http": 80, "https": 443}


class Refused(Exception):
    """The watcher must go; ``code`` says why."""

    def __init__(self, code: Close, needed: Collection[str] = ()) -> None:
        super().__init__(code.name.lower())
        self.code = code
        self.needed = needed


class HeldKey(Protocol):
    """A live API key: whose it is, and the scopes that it grants."""

    @property
    def user(self) -> AbstractBaseUser: ...
    @property
    def granted(self) -> frozenset[str]: ...
    @property
    def shown(self) -> bytes: ...  # the digest of the secret


class Keys(Protocol):
    """How keys are looked up (``accounts.keys``), handed in by those who mount sockets and streams: this app stands below accounts."""

    def live_key(self, secret: str, address: str | None = None) -> HeldKey | None: ...
    def live_key_by_digest(self, digest: bytes) -> HeldKey | None: ...


@dataclass(frozen=True)
class Identity:
    """A signed-in user. ``still_valid`` asks again whether the credential is good; it runs queries. ``granted``: the scopes of the
    key that was shown, None for people, who have all. ``credential`` tells what was shown from others and opens nothing: ``login:`` or
    ``key:`` and the SHA-256 of it."""

    user: AbstractBaseUser
    still_valid: Callable[[], bool]
    granted: frozenset[str] | None = None
    credential: str = ""

    def require(self, scopes: Collection[str]) -> None:
        """Raises ``Refused`` (4403) when a key lacks one of them."""
        if self.granted is not None and not self.granted.issuperset(scopes):
            raise Refused(Close.FORBIDDEN, scopes)

    @property
    def user_id(self) -> UUID:
        return UUID(str(self.user.pk))


def from_headers(
    headers: Mapping[str, str], keys: Keys, *, origin_required: bool, address: str | None = None
) -> Identity | None:
    """The identity that the request's headers prove, ``None`` when they claim none. Runs queries. ``address``: where they come from.

    ``origin_required``: a cookie counts only with our own Origin. Sockets need it, for browsers send cookies along from any
    page; a plain GET from our own page carries no Origin, and CORS keeps other pages from reading its answer.
    Raises ``Refused``: a key or token that is not good (4401), a cookie from a foreign page (4403).
    """
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return _from_key(key.strip(), keys, address)
    if token := headers.get("x-session-token", "").strip():
        return _from_token(token)
    session_key = _session_cookie(headers.get("cookie", ""))
    if session_key is None:
        return None
    origin = headers.get("origin")
    if (origin is None and origin_required) or (origin is not None and _normal(origin) not in allowed_origins()):
        raise Refused(Close.FORBIDDEN)
    return _from_session(session_key)


def from_ticket(ticket: str, keys: Keys) -> Identity:
    """The identity that a ticket stands for, which is used up by this. Raises ``Refused``, ``Unavailable``."""
    grant = tickets.redeem(ticket)
    if grant is None:
        raise Refused(Close.SIGNED_OUT)
    if grant.key_digest is not None:
        return _held(functools.partial(keys.live_key_by_digest, grant.key_digest))
    user = get_user_model()._default_manager.filter(pk=grant.user_id, is_active=True).first()
    if user is None:
        raise Refused(Close.SIGNED_OUT)
    identity = Identity(
        user,
        lambda: _is_active(grant.user_id) and _session_holds(grant.session_key, user),
        credential=_login(grant.session_key),
    )
    if not identity.still_valid():
        raise Refused(Close.SIGNED_OUT)
    return identity


def allowed_origins() -> frozenset[str]:
    return frozenset(_normal(origin) for origin in (settings.PUBLIC_URL, *settings.CORS_ALLOWED_ORIGINS))


def _from_key(secret: str, keys: Keys, address: str | None) -> Identity:
    return _held(functools.partial(keys.live_key, secret, address))


def _held(find: Callable[[], HeldKey | None]) -> Identity:
    key = find()
    if key is None:
        raise Refused(Close.SIGNED_OUT)
    user = key.user
    return Identity(
        user, lambda: (again := find()) is not None and again.user == user, key.granted, f"key:{key.shown.hex()}"
    )


def _from_token(token: str) -> Identity:
    identity = _from_session(token)
    if identity is None:
        raise Refused(Close.SIGNED_OUT)
    return identity


def _from_session(session_key: str) -> Identity | None:
    user = _session_user(session_key)
    if user is None:
        return None
    return Identity(user, lambda: _session_holds(session_key, user), credential=_login(session_key))


def _login(session_key: str | None) -> str:
    """As ``accounts`` stores it; empty where a ticket was asked for without a session."""
    return f"login:{hashlib.sha256(session_key.encode()).hexdigest()}" if session_key else ""


def _session_user(session_key: str) -> AbstractBaseUser | None:
    """Django's own check, password hash and all, which looks at nothing of the request but its session."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user: Any = get_user(request)
    return user if user.is_authenticated else None


def _session_holds(session_key: str | None, user: AbstractBaseUser) -> bool:
    return session_key is None or _session_user(session_key) == user


def _is_active(user_id: UUID) -> bool:
    return get_user_model()._default_manager.filter(pk=user_id, is_active=True).exists()


def _session_cookie(header: str) -> str | None:
    try:
        morsel = SimpleCookie(header).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return None
    return morsel.value if morsel is not None and morsel.value else None


def ip_address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))  # without a zone, which PostgreSQL does not take
    except ValueError:  # the other end of a Unix socket has none
        return None


def _normal(origin: str) -> str:
    """Scheme, host and port as browsers write an Origin; a URL's path is left out. ``null`` and nonsense equal nothing of ours."""
    try:
        parts = urlsplit(origin.strip())
        port = parts.port
    except ValueError:
        return "null"
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    suffix = "" if port in {None, DEFAULT_PORTS.get(parts.scheme)} else f":{port}"
    return f"{parts.scheme}://{host}{suffix}"
