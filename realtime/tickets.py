"""Tickets: how a page on another origin, which can send neither our cookie nor a header, opens a socket.

Good for 30 seconds and once. Only the ticket's hash is a key in Valkey, so whoever can list keys cannot sign in with one. It
travels in the ``hello`` frame and never in the URL, which ends up in logs.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from uuid import UUID

import redis

from realtime import limits, nudge
from realtime.errors import Unavailable

PREFIX = "qt_"
KEY = "quorum:ticket:"


@dataclass(frozen=True, slots=True)
class Grant:
    """Whom a ticket stands for, and what it was asked for with: the end of that login session, or of the key's secret that has this
    digest, is the socket's end. What the key may do is asked when it is used, so that a ticket never can more than its key."""

    user_id: UUID
    session_key: str | None = None
    key_digest: bytes | None = None


def issue(user_id: UUID, session_key: str | None = None, key_digest: bytes | None = None) -> str:
    """A new ticket. Raises ``Unavailable`` when the broker does not answer."""
    ticket = PREFIX + secrets.token_urlsafe(32)
    value = json.dumps({"user": user_id.hex, "session": session_key, "key": key_digest.hex() if key_digest else None})
    try:
        nudge.client().set(_key(ticket), value, ex=limits.TICKET_S)
    except redis.RedisError as error:
        raise Unavailable("tickets cannot be issued at the moment") from error
    return ticket


def redeem(ticket: str) -> Grant | None:
    """What the ticket grants; ``None`` when it is unknown, too old or used. Raises ``Unavailable``."""
    try:
        value = nudge.client().getdel(_key(ticket))
    except redis.RedisError as error:
        raise Unavailable("tickets cannot be checked at the moment") from error
    if value is None:
        return None
    found = json.loads(str(value, "ascii") if isinstance(value, bytes) else value)
    digest = found.get("key")
    return Grant(UUID(found["user"]), found["session"], bytes.fromhex(digest) if digest else None)


def _key(ticket: str) -> str:
    return f"{KEY}{hashlib.sha256(ticket.encode()).hexdigest()}"
