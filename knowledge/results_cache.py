"""Results of searches, kept (``accounts.caching``) under the state of the packs that they were found in.

The key holds each pack's ``index_epoch``, read before the search: whoever writes bumps it in the same transaction, so an outdated
result is never asked for again. Only a purge has to find results: each key also names its packs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from accounts import caching

KIND: Final = "search"
FORMAT: Final = 3  # of the keys and values; count it up when either changes


def key(packs: Iterable[UUID], parts: Mapping[str, Any]) -> str:
    """A key for everything that a result depends on; at the end, what ``forget`` finds the packs by."""
    text = json.dumps([FORMAT, parts], sort_keys=True, default=str)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}:{''.join(_mark(pack) for pack in packs)}"


def forget(pack_id: UUID) -> int:
    """Delete all results in which the pack was searched (and, once in a blue moon, another's: marks are short, for a key may name
    20 packs and Django warns of keys over 250 characters); their number. Looks at every key of the cache, so it is for purges alone.
    Raises ``RedisError``."""
    return caching.drop(KIND, f"*{_mark(pack_id)}*")


def _mark(pack_id: UUID) -> str:
    return f".{pack_id.hex[-8:]}"


def get(name: str) -> Any | None:
    """The JSON that was kept under the key; None when there is nothing or the cache does not answer."""
    return caching.find(KIND, name) if settings.SEARCH_CACHE_S else None


def put(name: str, result: Any) -> None:
    """Raises ``TypeError`` for what is not JSON."""
    if settings.SEARCH_CACHE_S:
        caching.keep(KIND, name, result, settings.SEARCH_CACHE_S)
