"""``SESSION_ENGINE``: login sessions in Postgres, each with its owner, its device and both time-outs.

Django's own table knows only an expiry date. Here the time-outs are asked wherever a session is read, so they hold for pages, the
API, the admin, apps' tokens and open sockets alike. What a person does keeps a session awake (``visitor`` is set by what serves a
request); a socket that only asks whether its session still stands does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.utils import timezone

from accounts.models_logins import LoginSession

SEEN_EVERY: Final = timedelta(minutes=1)  # a busy page would otherwise write its session's row on every request


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request comes from: an address, if it has one, and what the device calls itself."""

    ip: str | None
    user_agent: str


class SessionStore(SessionBase):
    """As Django's ``backends.db``, on ``LoginSession``. A session that was ended is never written back (``UpdateError``)."""

    visitor: Visitor | None = None

    def exists(self, session_key: str) -> bool:
        return LoginSession.objects.alive().filter(digest=LoginSession.hash(session_key)).exists()

    def load(self) -> dict[str, Any]:
        row = LoginSession.objects.alive().filter(digest=LoginSession.hash(self.session_key or "")).first()
        if row is None:
            self._session_key = None  # Django's way of saying that there is no such session
            return {}
        self._note_visit(row)
        data: dict[str, Any] = self.decode(row.data)
        return data

    def create(self) -> None:
        """A new key and a row for it; 165 random bits do not meet twice."""
        self._session_key = self._get_new_session_key()  # type: ignore[attr-defined]  # the stubs know only what is public
        self._insert(self._get_session(no_load=True))  # type: ignore[attr-defined]
        self.modified = True

    def save(self, must_create: bool = False) -> None:
        if self.session_key is None:
            self.create()
            return
        data = self._get_session(no_load=must_create)  # type: ignore[attr-defined]
        if must_create:
            self._insert(data)
        elif not self._row().update(**self._columns(data)):
            raise UpdateError

    def cycle_key(self) -> None:
        """A new key for the same row when somebody is signed in (a second factor, another password): the login goes on, and its
        absolute time-out with it. Signing in makes a new row."""
        data = self._session  # type: ignore[attr-defined]
        if SESSION_KEY not in data or self.session_key is None:
            super().cycle_key()
            return
        before, self._session_key = self._row(), self._get_new_session_key()  # type: ignore[attr-defined]
        if not before.update(digest=LoginSession.hash(self._session_key)):
            self._insert(data)  # a change of password has ended every login, this one as well
        self.modified = True

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            LoginSession.objects.filter(digest=LoginSession.hash(key)).delete()

    @classmethod
    def clear_expired(cls) -> None:
        LoginSession.objects.over().delete()

    def _row(self) -> Any:
        return LoginSession.objects.filter(digest=LoginSession.hash(self.session_key or ""))

    def _insert(self, data: dict[str, Any]) -> None:
        now = timezone.now()
        digest = LoginSession.hash(self.session_key or "")
        LoginSession.objects.create(digest=digest, created_at=now, **{"last_seen_at": now, **self._columns(data)})

    def _columns(self, data: dict[str, Any]) -> dict[str, Any]:
        columns = {"data": self.encode(data), "user_id": data.get(SESSION_KEY)}
        return {**columns, **self._seen(timezone.now())} if self.visitor else columns

    def _seen(self, now: datetime) -> dict[str, Any]:
        if self.visitor is None:
            return {}
        return {"last_seen_at": now, "ip": self.visitor.ip, "user_agent": self.visitor.user_agent}

    def _note_visit(self, row: LoginSession) -> None:
        now = timezone.now()
        stale = now - min(SEEN_EVERY, timedelta(minutes=settings.SESSION_IDLE_MINUTES) / 10)
        if self.visitor is not None and row.last_seen_at < stale:
            LoginSession.objects.filter(pk=row.pk, last_seen_at__lt=stale).update(**self._seen(now))
