"""Entity tags of single objects, always strong (RFC 9110, sections 8.8.3 and 13.1).

``"v3.0f1e…"``: version 3, which counts people's edits, and what the whole body says, of which some changes without an edit (an
entry is indexed, a decision's source is revised). A reader asks with all of it (``If-None-Match``). A writer must know the edits
alone (``If-Match``): ``"v3"`` will do, and an entry that has been indexed meanwhile does not turn them away. The middleware adds
``-br`` or ``-gzip`` for a compressed body; it makes no difference to either.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from rest_framework.renderers import JSONRenderer

from accounts.errors import PreconditionFailed
from realtime.errors import InvalidInput

_TAG = re.compile(r'(W/)?"[\x21\x23-\x7e]*"')
_CODING = re.compile(r'-(br|gzip)"$')
_WHOLE = re.compile(r'\.[0-9a-f]+"$')
ANY = "*"


def etag(version: int, data: Any = None) -> str:
    """The tag of a version, or (with ``data``) of this very body."""
    if data is None:
        return f'"v{version}"'
    return f'"v{version}.{hashlib.blake2b(JSONRenderer().render(data), digest_size=8).hexdigest()}"'


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
    if wanted != [ANY] and etag(version) not in (_WHOLE.sub('"', _CODING.sub('"', tag)) for tag in wanted):
        raise PreconditionFailed(f"The object has changed: its current entity tag is {etag(version)}.")


def names(header: str | None, tag: str) -> bool:
    """``If-None-Match``: whether the client's copy is this one (compared weakly); a malformed value is ignored."""
    known = tags(header) if header else None
    return known is not None and (known == [ANY] or tag in (_CODING.sub('"', one.removeprefix("W/")) for one in known))
