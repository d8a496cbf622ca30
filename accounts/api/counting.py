"""Who is counted, and as what: a user over all programs and browsers, each key of theirs apart, and strangers by address.

A key may use half of what its user may (``settings.RATE_LIMITS``), so that one program that runs wild leaves the others, and the
person at the browser, their share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from accounts import limits
from accounts.errors import RateLimited
from accounts.limits import Quota

CLASSES: Final = {
    "GET": "read", "HEAD": "read", "OPTIONS": "read", "POST": "write", "PUT": "write", "PATCH": "write", "DELETE": "write",
}  # fmt: skip
_QUOTAS: Final = "_quorum_quotas"


def count(request: HttpRequest, policy: str, user: AbstractBaseUser | None) -> None:
    """Counts the request under the class ``policy``. Raises ``RateLimited``; ``quotas`` then says what is left all the same."""
    if user is None:
        _spend(request, [(f"{policy}_ip", f"ip:{limits.network_of(request.META.get('REMOTE_ADDR', ''))}")])
        return
    callers = [(policy, f"user:{user.pk}")]
    if key := _key(request):
        callers.append((f"{policy}_key", f"key:{key}"))
    _spend(request, callers)


def count_stranger(request: HttpRequest) -> None:
    """As a stranger's request of its method's class."""
    count(request, CLASSES.get(request.method or "", "write"), None)


def quotas(request: HttpRequest) -> Sequence[Quota] | None:
    """What was counted, None when nothing has been yet."""
    found: list[Quota] | None = request.__dict__.get(_QUOTAS)
    return found


def wait_for_stream(request: HttpRequest, user: AbstractBaseUser) -> int | None:
    """Counts a stream that is about to be opened; the seconds to wait when it is one too many. ``realtime`` knows no limits."""
    try:
        count(request, "stream", user)
    except RateLimited as error:
        return error.retry_after
    return None


def _spend(request: HttpRequest, callers: Sequence[tuple[str, str]]) -> None:
    found: list[Quota] = []
    setattr(request, _QUOTAS, found)
    for policy, caller in callers:
        try:
            quota = limits.spend(request, policy, caller)
        except RateLimited as error:
            found.append(limits.spent(error))
            raise
        if quota is not None:
            found.append(quota)


def _key(request: HttpRequest) -> str | None:
    """A name for the key that the request came with; the key itself is not written anywhere."""
    scheme, _, key = request.headers.get("Authorization", "").strip().partition(" ")
    return hashlib.sha256(key.strip().encode()).hexdigest() if scheme.lower() == "bearer" else None
