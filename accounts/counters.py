"""The caches of limits and of bodies: Django's, with one client for the process; counts take one command less, and bodies stay bytes."""

from __future__ import annotations

from typing import Any

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from django.utils.functional import cached_property

_clients: dict[tuple[type, tuple[str, ...]], Any] = {}


class _Client(RedisCacheClient):
    def incr(self, key: Any, delta: int) -> int:
        """Django asks first whether the key is there. A counter that vanished since ``add`` begins anew instead, and ends with its day."""
        client = self.get_client(key, write=True)
        count = int(client.incr(key, delta))
        if count == delta:
            client.expire(key, 86_400)
        return count


class _AsTheyAre:
    """In place of Django's serializer, which pickles: values are bytes."""

    def dumps(self, obj: Any) -> Any:
        return obj

    def loads(self, data: Any) -> Any:
        return data


class _Bytes(RedisCacheClient):
    def __init__(self, servers: list[str], **options: Any) -> None:
        super().__init__(servers, serializer=_AsTheyAre, **options)


class ProcessCache(RedisCache):
    """Django makes a cache, and so a connection, for each request of an asynchronous server (``caches`` are local to a context). This
    one's clients are the process's: redis-py's pools are made for threads and notice a fork."""

    client: type[RedisCacheClient]

    @cached_property
    def _cache(self) -> Any:
        servers = tuple(self._servers)  # type: ignore[attr-defined]  # the stubs leave it out
        if (self.client, servers) not in _clients:
            _clients[self.client, servers] = self.client(list(servers), **self._options)  # type: ignore[attr-defined]  # and this
        return _clients[self.client, servers]


class CounterCache(ProcessCache):
    client = _Client


class BytesCache(ProcessCache):
    client = _Bytes
