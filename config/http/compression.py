"""Brotli or gzip for JSON and pages.

Never for streams, whose events would wait for a block to fill. Compression tells secrets to whoever can both choose a part of a
body and see its length (BREACH). What could be told here: the CSRF token of a form, which Django masks anew for every answer, so
that two lengths never speak of the same text. Session ids are in no body, and a new API key is in one single answer. Gzip gets
up to 100 random bytes besides, as in Django's own middleware.

A strong entity tag names bytes: the compressed form of ``"v3"`` is ``"v3-br"`` (RFC 9110, section 8.8.3.3). ``accounts.api.conditions``
reads both as the same version.
"""

from __future__ import annotations

import asyncio
from typing import Final

import brotli  # type: ignore[import-untyped]  # it has no types
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.text import compress_string

from config.http.around import Around

LEAST_BYTES: Final = 500  # below it, a coding's own bytes and time are worth more than what it saves
BESIDE_BYTES: Final = 65_536  # above it, the work is done beside the event loop
BROTLI_QUALITY: Final = 4  # smaller than gzip's default and faster
TYPES: Final = frozenset(
    {"application/json", "application/problem+json", "application/vnd.oai.openapi", "application/vnd.oai.openapi+json", "application/yaml"}
)  # fmt: skip


class Compression(Around):
    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if isinstance(response, HttpResponse) and (coding := _coding_for(request, response)):
            _encode(response, coding)
        return response

    async def after_async(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if isinstance(response, HttpResponse) and not response.streaming and len(response.content) > BESIDE_BYTES:
            return await asyncio.to_thread(self.after, request, response)
        return self.after(request, response)


def _coding_for(request: HttpRequest, response: HttpResponse) -> str | None:
    if response.status_code == 304:
        _name_what_was_known(request, response)
    if response.streaming or not _compressible(response) or response.has_header("Content-Encoding"):
        return None
    patch_vary_headers(response, ("Accept-Encoding",))
    return _accepted(request.headers.get("Accept-Encoding", "")) if len(response.content) >= LEAST_BYTES else None


def _compressible(response: HttpResponse) -> bool:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type in TYPES


def _accepted(header: str) -> str | None:
    """``br`` or ``gzip``, whichever the caller likes better (RFC 9110, section 12.5.3); None when it takes neither."""
    weights: dict[str, float] = {}
    for part in header.lower().split(","):
        name, _, parameter = part.strip().partition(";")
        try:
            weights[name.strip()] = float(parameter.partition("=")[2]) if "=" in parameter else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    liking = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in ("br", "gzip")}
    best = max(liking, key=lambda coding: liking[coding])
    return best if liking[best] > 0 else None


def _encode(response: HttpResponse, coding: str) -> None:
    plain = response.content
    if coding == "br":
        response.content = brotli.compress(plain, quality=BROTLI_QUALITY)
    else:
        response.content = compress_string(plain, max_random_bytes=100)
    response.headers["Content-Length"] = str(len(response.content))
    response.headers["Content-Encoding"] = coding
    tag = response.headers.get("ETag", "")
    if tag.startswith('"'):
        response.headers["ETag"] = f'{tag[:-1]}-{coding}"'


def _name_what_was_known(request: HttpRequest, response: HttpResponse) -> None:
    """A 304 carries the tag that the 200 would have: the one of the compressed form, when the caller has that."""
    patch_vary_headers(response, ("Accept-Encoding",))
    tag = response.headers.get("ETag", '""')
    known = [one.strip() for one in request.headers.get("If-None-Match", "").split(",")]
    for coding in ("br", "gzip"):
        if (coded := f'{tag[:-1]}-{coding}"') in known:
            response.headers["ETag"] = coded
