"""The cache that limits are counted in: Django's, with one client for the process and one command less for each count."""

from __future__ import annotations

from typing import Any

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from django.utils.functional import cached_property

_clients: dict[tuple[str, ...], Any] = {}


class _Client(RedisCacheClient):
    def incr(self, key: Any, delta: int) -> int:
        """Django asks first whether the key is there. A counter that vanished since ``add`` begins anew instead, and ends with its day."""
        client = self.get_client(key, write=True)
        count = int(client.incr(key, delta))
        if count == delta:
            client.expire(key, 86_400)
        return count


class CounterCache(RedisCache):
    """Django makes a cache, and so a connection, for each request of an asynchronous server (``caches`` are local to a context). This
    one's clients are the process's: redis-py's pools are made for threads and notice a fork."""

    @cached_property
    def _cache(self) -> Any:
        servers = tuple(self._servers)  # type: ignore[attr-defined]  # the stubs leave it out
        if servers not in _clients:
            _clients[servers] = _Client(list(servers), **self._options)  # type: ignore[attr-defined]  # and this
        return _clients[servers]
