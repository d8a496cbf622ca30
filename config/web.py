"""The web server's process, and the sockets that it listens on, which outlive it.

Whoever supervises binds the sockets once and hands them to one server after another: while none accepts, because the old one is
ending and the new one is loading, connections wait in the kernel's queue instead of being refused.

    python -m config.web --host 127.0.0.1 --port 8000     # listens by itself
    python -m config.web --fd 3                           # listens on a socket that it was given (systemd's socket activation)
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from django.db import connections

from config.embedded import liveness
from config.embedded.errors import PortTaken
from config.embedded.process import READY_FILE
from config.pooling import DATABASE_WAIT_S, Patience

GRACEFUL_SHUTDOWN_S = 5  # for requests that are being answered; event streams are ended at once
# Of a peer that stopped reading, or is gone without a word. A socket that owes us a pong for so long is closed; the kernel ends a
# connection whose peer has taken nothing of what waits for it for so long (a close alone would wait for that for ever).
PING_S, PONG_S = 12.0, 12.0
UNREAD_S = 20.0
# How long a thread may keep the interpreter from the others. Python's 5 ms let database threads hold up the event loop: with them the
# slowest hundredth of events took 1.06 s to a thousand sockets of which many were just coming back, with this 0.13 s.
SWITCH_S = 0.0005


class Server(uvicorn.Server):
    """Says when it accepts connections, to the file that ``READY_FILE`` names."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _say_ready()


def _say_ready() -> None:
    if ready := os.environ.get(READY_FILE):
        Path(ready).write_text(str(os.getpid()))


async def _beat() -> None:
    """From the event loop itself, so that one that is stuck is noticed."""
    if ready := os.environ.get(READY_FILE):
        os.utime(ready)


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets of every address that ``host`` stands for. Nobody listens before a server does, so that connections are refused, not
    kept waiting, while the first one loads. Raises ``PortTaken``."""
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in _addresses(host, port):
            try:
                one = socket.socket(family, kind, protocol)
            except OSError:
                continue  # "localhost" also stands for an IPv6 address where the kernel has none
            bound.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # else it would take the other family's port too
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; connections inherit it
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNREAD_S * 1000))
            one.bind(address)
    except OSError as error:
        for one in bound:
            one.close()
        raise PortTaken(f"Cannot listen on port {port} of {host}: {error.strerror or error}") from error
    return bound


def _addresses(host: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(found))  # type: ignore[arg-type]  # the stubs also know systems without IPv6


def serve(listeners: list[socket.socket]) -> None:
    """Until a signal. The sockets are closed in this process alone."""
    sys.setswitchinterval(SWITCH_S)
    _wait_briefly()
    config = uvicorn.Config(
        "config.asgi:application",
        access_log=False,
        proxy_headers=False,  # config.http.proxies reads them, and knows whose
        log_level="warning",  # three lines for each socket that comes and goes are a measurable part of what it costs
        ws_per_message_deflate=False,  # frames are encoded once for all sockets; compressing would do each anew
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
        lifespan="on",
        ws_ping_interval=PING_S,
        ws_ping_timeout=PONG_S,
        callback_notify=_beat,
        timeout_notify=round(liveness.BEAT_S),
    )
    Server(config).run(sockets=listeners)


def _wait_briefly() -> None:
    """Somebody waits for a request: it is told soon that there is no database. Tasks wait longer. Before the first connection."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    options = connections.settings["default"]["OPTIONS"].get("pool")
    if isinstance(options, dict):
        options["reconnect_timeout"] = DATABASE_WAIT_S
        Patience(connections["default"].pool)  # type: ignore[attr-defined]  # of Django's PostgreSQL alone


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m config.web", description="Serve Quorum over HTTP and WebSockets.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default 8000)")
    parser.add_argument("--fd", type=int, help="number of a bound socket to listen on instead")
    chosen = parser.parse_args(arguments)
    serve(bind(chosen.host, chosen.port) if chosen.fd is None else [socket.socket(fileno=chosen.fd)])


if __name__ == "__main__":
    main(sys.argv[1:])
