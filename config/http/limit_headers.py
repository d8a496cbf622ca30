"""``RateLimit`` and ``RateLimit-Policy`` on every answer of the API, whatever gave it.

What a view has counted stands on the request. An answer from elsewhere (an unknown route, a wrong key, a document, a refusal of the
middleware's own) is counted by address here, so that guessing has a limit too.
"""

from __future__ import annotations

import asyncio

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from accounts import limits
from accounts.api import counting
from accounts.errors import RateLimited
from config import api
from config.http.around import Around


class LimitHeaders(Around):
    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not api.is_api(request):
            return response
        if counting.quotas(request) is None:
            try:
                counting.count_stranger(request)
            except RateLimited as error:
                response = api.respond(request, error, 429)
        for name, value in limits.headers_of(counting.quotas(request) or ()).items():
            response.headers[name] = value
        return response

    async def after_async(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if api.is_api(request) and counting.quotas(request) is None:
            return await asyncio.to_thread(self.after, request, response)  # it asks the cache
        return self.after(request, response)
