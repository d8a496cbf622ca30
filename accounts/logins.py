"""A person's logins: where from, and their end. Rows of ``LoginSession``; ``accounts.session_store`` reads and writes them."""

from __future__ import annotations

import re
from typing import Final, cast
from uuid import UUID

from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.http import HttpRequest

from accounts import audit
from accounts.models import LoginSession, User
from accounts.models_logins import LoginSessionQuerySet
from accounts.services import client_ip
from accounts.session_store import SessionStore, Visitor
from realtime import nudge
from realtime.errors import NotFound

# Whose name is in every other's string comes last.
_BROWSERS: Final = {
    "Edge": r"Edg(e|A|iOS)?/", "Opera": r"OPR/|Opera", "Samsung Internet": r"SamsungBrowser", "Firefox": r"Firefox/|FxiOS/",
    "Chrome": r"Chrome/|CriOS/|Chromium", "Safari": r"Safari/",
}  # fmt: skip
_SYSTEMS: Final = {
    "Android": r"Android", "iPhone": r"iPhone", "iPad": r"iPad", "Windows": r"Windows", "macOS": r"Mac OS|Macintosh",
    "ChromeOS": r"CrOS", "Linux": r"Linux|X11",
}  # fmt: skip


def note_visitor(request: HttpRequest) -> None:
    """From now on the request's session knows that somebody uses it, and where from."""
    cast("SessionStore", request.session).visitor = visitor(request)


def visitor(request: HttpRequest) -> Visitor:
    return Visitor(client_ip(request), request.headers.get("User-Agent", "")[:200].replace("\x00", ""))


def of(user: User) -> LoginSessionQuerySet:
    """Those that have not run out."""
    return LoginSession.objects.alive().filter(user=user)


def is_current(login: LoginSession, session: SessionBase | None) -> bool:
    key = session.session_key if session is not None else None
    return key is not None and bytes(login.digest) == LoginSession.hash(key)


def end(user: User, login_id: UUID) -> None:
    """Ends one login of this user and its sockets; ``NotFound`` also for another user's."""
    with transaction.atomic():
        deleted, _ = LoginSession.objects.filter(user=user, pk=login_id).delete()
        if not deleted:
            raise NotFound("There is no such login.")
        _tell(user, deleted)


def end_others(user: User, current: SessionBase | None) -> int:
    """Ends every login but this one, and their sockets; says how many there were."""
    others = LoginSession.objects.filter(user=user)
    if current is not None and current.session_key is not None:
        others = others.exclude(digest=LoginSession.hash(current.session_key))
    with transaction.atomic():
        ended, _ = others.delete()
        _tell(user, ended)
    return ended


def end_all(user: User) -> int:
    return end_others(user, None)


def device(user_agent: str) -> str:
    """In words, as far as the browser says: "Firefox on Linux"; else the name that a program gives itself."""
    browser, system = _first(_BROWSERS, user_agent), _first(_SYSTEMS, user_agent)
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or user_agent.partition("/")[0].strip()[:40] or "Unknown device"


def _first(patterns: dict[str, str], text: str) -> str:
    return next((name for name, pattern in patterns.items() if re.search(pattern, text)), "")


def _tell(user: User, ended: int) -> None:
    """After the commit, every live connection of the user asks again whether its login still stands."""
    if ended:
        audit.record("user.logins_ended", user, count=ended)
    transaction.on_commit(lambda: nudge.sign_out(user.pk), robust=True)
