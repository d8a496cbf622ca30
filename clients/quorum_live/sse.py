"""The same news as Server-Sent Events, for where WebSockets do not get through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx2

from .backoff import Backoff
from .news import FINAL, Close, Json, News, OutOfOrder, Place, Refused

SILENCE_S = 45.0  # a quiet stream sends a comment every 15 s
_REFUSALS = {400: Close.BAD_FRAME, 401: Close.SIGNED_OUT, 403: Close.FORBIDDEN, 404: Close.UNKNOWN}


async def follow(
    url: str, *, key: str, last_seq: int | None = None, backoff: Backoff | None = None
) -> AsyncIterator[News]:
    """As ``LiveStream.follow``, of ``…/stream``. Raises ``Refused``."""
    place, backoff = Place(last_seq), backoff or Backoff()
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=SILENCE_S) as http:
        while True:
            try:
                async for frame in _frames(http, url, place.last_seq):
                    backoff.succeeded()
                    news = place.take(frame)
                    if news is not None:
                        yield news
            except (httpx2.TransportError, OutOfOrder):
                pass  # nothing is lost: what is missing comes after the pause
            await asyncio.sleep(backoff.pause())


async def _frames(http: httpx2.AsyncClient, url: str, last_seq: int | None) -> AsyncIterator[Json]:
    """Those of one connection; ends with it."""
    resume = {} if last_seq is None else {"Last-Event-ID": str(last_seq)}
    async with http.stream("GET", url, headers={"Accept": "text/event-stream", **resume}) as response:
        if response.status_code in _REFUSALS:
            raise Refused(_REFUSALS[response.status_code])
        if response.status_code != 200:
            return  # 429, 503: later
        async for line in response.aiter_lines():
            if not line.startswith("data: "):
                continue
            frame: Json = json.loads(line.removeprefix("data: "))
            if frame["t"] == "close":
                if frame["code"] in FINAL:
                    raise Refused(frame["code"])
                return
            yield frame
