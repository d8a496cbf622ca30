"""Entity tags of single objects: ``"v<version>"``, always strong (RFC 9110, sections 8.8.3 and 13.1)."""

from __future__ import annotations

import re

from accounts.errors import PreconditionFailed
from realtime.errors import InvalidInput

_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e]*"')
ANY = "*"


def etag(version: int) -> str:
    return f'"v{version}"'


def tags(header: str) -> list[str] | None:
    """The entity tags of an ``If-Match`` or ``If-None-Match`` value, ``["*"]``, or None when it is malformed."""
    parts = [part.strip() for part in header.split(",") if part.strip()]
    if parts == [ANY]:
        return parts
    return parts if parts and all(_TAG.fullmatch(part) for part in parts) else None


def require_match(header: str | None, version: int) -> None:
    """``If-Match``: nothing without the header, ``PreconditionFailed`` when stale, ``InvalidInput`` when malformed.

    Compared strongly (section 13.1.1), so a weak tag never matches.
    """
    if header is None:
        return
    wanted = tags(header)
    if wanted is None:
        raise InvalidInput('If-Match takes "*" or quoted entity tags such as "v3".', code="bad_if_match")
    if wanted != [ANY] and etag(version) not in wanted:
        raise PreconditionFailed(f"The object has changed: its current entity tag is {etag(version)}.")


def is_unchanged(header: str | None, version: int) -> bool:
    """``If-None-Match``: whether the client's copy is this version (compared weakly); a malformed value is ignored."""
    known = tags(header) if header else None
    return known is not None and (known == [ANY] or etag(version) in (tag.removeprefix("W/") for tag in known))
