"""Ports on the loopback interface, and whether somebody answers there."""

import http.client
import random
import socket
import urllib.error
import urllib.request

from config.embedded.errors import PortTaken

LOOPBACK = "127.0.0.1"
# Below the range from which Linux (32768+) and macOS (49152+) take ports of outgoing connections: a server that is
# restarted on its old port must not find that port lent to somebody's client.
FIRST_PORT, LAST_PORT = 20_000, 32_000


def is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT is free, one that somebody listens on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """A port nobody listens on; the preferred one when it can be had, so that URLs stay the same over restarts."""
    if preferred is not None and is_free(LOOPBACK, preferred):
        return preferred
    for candidate in random.sample(range(FIRST_PORT, LAST_PORT), 200):
        if is_free(LOOPBACK, candidate):
            return candidate
    raise PortTaken(f"No free port between {FIRST_PORT} and {LAST_PORT} on {LOOPBACK}")


def require_free(host: str, port: int) -> None:
    if not is_free(host, port):
        raise PortTaken(f"Port {port} on {host} is not available: stop what listens there or choose another --port")


def answers(url: str) -> bool:
    """Whether `url` answers 200 within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310  # our own http:// address
            return bool(response.status == 200)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError):
        return False
