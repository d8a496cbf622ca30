"""How many requests are worked on at the same moment; the others wait in the event loop, in the order in which they came.

Each request of Django's runs in a thread of its own. Five hundred threads at once share one processor and ten connections: every one of
them is slow, and waits for the store and the cache that are bounded for when those are away run out although both are well. A few
threads finish the same work sooner, and nobody is refused.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase

PER_CONNECTION = 2  # of the pool: a request does other things besides asking the database
UNCOUNTED = "/livez"  # a server that has much to do is alive


class Handler(ASGIHandler):
    """A request has a place once its body has been read, so that slow senders take nobody's, and until its answer begins, so that
    event streams and downloads keep none."""

    def __init__(self) -> None:
        super().__init__()
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        if request.path == UNCOUNTED:
            return await super().get_response_async(request)
        loop = asyncio.get_running_loop()
        places = self._places.get(loop)
        if places is None:
            places = self._places[loop] = asyncio.Semaphore(PER_CONNECTION * settings.DATABASE_POOL_SIZE)
        async with places:
            return await super().get_response_async(request)
