"""The ASGI lifespan: gives the loop its threads, ends open streams at the first sign of shutdown, and the feed at its end.

uvicorn closes sockets itself (1012) but waits for responses to finish, and a Server-Sent Events response never does. It sends
``lifespan.shutdown`` only after that wait, so the signal is what tells us in time.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from realtime import feed
from realtime.db import ConnectionsGivenBack

Message = dict[str, Any]
SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def lifespan(
    scope: Message,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            asyncio.get_running_loop().set_default_executor(ConnectionsGivenBack(thread_name_prefix="loop"))
            _end_watches_on_signals(feed.current())
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await feed.current().close()
            await send({"type": "lifespan.shutdown.complete"})
            return


def _end_watches_on_signals(current: feed.Feed) -> None:
    """Put ourselves before the handlers that the server has set. Python takes signal handlers on the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        _precede(number, lambda: loop.call_soon_threadsafe(current.end_watches))


def _precede(number: signal.Signals, action: Callable[[], object]) -> None:
    previous = signal.getsignal(number)
    if not callable(previous):
        return  # nobody ends the process on this signal, so there is nothing to precede

    def handle(received: int, stack: FrameType | None) -> None:
        action()
        previous(received, stack)

    signal.signal(number, handle)
