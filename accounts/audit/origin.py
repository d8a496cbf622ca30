"""Where the request comes from that is being answered: a context variable beside ``realtime.actor``, looked at only when
something is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from django.http import HttpRequest

from accounts.models import ApiKey

USER_AGENT_MAX = 200


@dataclass(frozen=True)
class Origin:
    ip: str | None = None
    user_agent: str = ""
    request_id: str = ""
    key_id: UUID | None = None


_request: ContextVar[HttpRequest | None] = ContextVar("audited_request", default=None)


@contextmanager
def answering(request: HttpRequest) -> Iterator[None]:
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def current() -> Origin | None:
    """None outside of a request."""
    request = _request.get()
    if request is None:
        return None
    from accounts.services import client_ip  # the services record

    auth = getattr(request, "auth", None)  # the API sets it when a key was sent
    return Origin(
        client_ip(request),
        request.headers.get("User-Agent", "")[:USER_AGENT_MAX].replace("\x00", ""),
        request.META.get("HTTP_X_REQUEST_ID", "")[:128],
        auth.pk if isinstance(auth, ApiKey) else None,
    )
