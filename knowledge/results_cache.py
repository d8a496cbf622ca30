"""Results of searches, kept in Valkey under the state of the packs that they were found in.

The key holds each pack's ``index_epoch``, read before the search: whoever writes bumps it in the same transaction, so an outdated
result is never asked for again. Only a purge has to find results: each key also names its packs. A cache that does not answer costs
one time-out (half a second at most) and is then left alone for a while.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.core.cache import cache
from prometheus_client import Counter
from redis.exceptions import RedisError

from realtime import nudge

log = logging.getLogger(__name__)

PAUSE_S: Final = 5.0
FORMAT: Final = 2  # of the keys and values; count it up when either changes
LOOKUPS = Counter("quorum_search_cache_total", "Looks into the cache of search results", ["result"])
SCANNED: Final = 1_000  # keys of Valkey that one step of a purge looks at
_resume_at = 0.0


def key(packs: Iterable[UUID], parts: Mapping[str, Any]) -> str:
    """A key for everything that a result depends on; at the end, what ``forget`` finds the packs by."""
    text = json.dumps([FORMAT, parts], sort_keys=True, default=str)
    return f"search:{hashlib.sha256(text.encode()).hexdigest()[:32]}:{''.join(_mark(pack) for pack in packs)}"


def forget(pack_id: UUID) -> int:
    """Delete all results in which the pack was searched (and, once in a blue moon, another's: marks are short, for a key may name
    20 packs and Django warns of keys over 250 characters); their number. Looks at every key of the cache, so it is for purges alone.
    Raises ``RedisError``."""
    client = nudge.client()
    pattern = cache.make_key(f"search:*{_mark(pack_id)}*")
    return sum(int(client.unlink(name)) for name in client.scan_iter(match=pattern, count=SCANNED))


def _mark(pack_id: UUID) -> str:
    return f".{pack_id.hex[-8:]}"


def get(name: str) -> Any | None:
    """What was kept under the key; None when there is nothing or the cache does not answer."""
    found = _attempt("get", name)
    LOOKUPS.labels("hit" if found is not None else "miss").inc()
    return found


def put(name: str, value: object) -> None:
    _attempt("set", name, value, settings.SEARCH_CACHE_S)


def _attempt(operation: str, *args: Any) -> Any | None:
    global _resume_at  # noqa: PLW0603  # one pause for each process
    if not settings.SEARCH_CACHE_S or time.monotonic() < _resume_at:
        return None
    try:
        return getattr(cache, operation)(*args)
    except (RedisError, OSError) as error:
        _resume_at = time.monotonic() + PAUSE_S
        LOOKUPS.labels("error").inc()
        log.warning("the cache of search results does not answer: %s", error)
    except (pickle.UnpicklingError, AttributeError, ImportError, TypeError, EOFError) as error:
        LOOKUPS.labels("error").inc()  # written by another version of this program
        log.warning("a cached search result cannot be read: %s", error)
    return None
