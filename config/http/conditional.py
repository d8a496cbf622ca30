"""``If-None-Match`` for every list and document of the API: a tag made of the body, and 304 when the caller has that body.

This saves the way, not the queries. Single objects bring tags of their own (``ApiView.single``). Pages have none: the token in
their forms is another one each time.
"""

from __future__ import annotations

import hashlib

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts.api.conditions import names
from config.api import is_api
from config.http.around import Around


class Conditional(Around):
    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if isinstance(response, HttpResponse) and _wanted(request, response):
            tag = f'"b{hashlib.blake2b(response.content, digest_size=12).hexdigest()}"'
            response.headers["ETag"] = tag
            if names(request.headers.get("If-None-Match"), tag):
                response.status_code, response.content = 304, b""
                del response.headers["Content-Type"]
                response.headers.pop("Content-Length", None)
        return response


def _wanted(request: HttpRequest, response: HttpResponse) -> bool:
    return (
        request.method in ("GET", "HEAD")
        and response.status_code == 200
        and is_api(request)
        and not response.streaming
        and not response.has_header("ETag")
        and "no-store" not in response.headers.get("Cache-Control", "")
    )
