"""Restart Quorum's own processes below a running ``manage.py up``, one after the other, so that there is no outage.

Each is asked to end as any deployment asks, gives back what it holds, and is started again by its supervisor, who forks it from what
it has loaded: this renews processes, not code. New code needs a new ``manage.py up``.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from config.embedded.errors import EmbeddedError
from config.embedded.process import wrote_its_pid
from config.embedded.state import DataDir, read_json

ORDER: Final = ("web", "turns", "control", "index", "beat")
WITHIN_S: Final = 60.0
POLL_S: Final = 0.05


class NotServed(EmbeddedError):
    """There is no process to restart."""


def restart(data: DataDir, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Each of ``names`` in turn: told to end, and its successor waited for. Raises ``NotServed`` and ``EmbeddedError``."""
    for name in _all_of(data, names):
        began = time.monotonic()
        old = _pid(data, name)
        try:
            os.kill(old, signal.SIGTERM)
        except ProcessLookupError:
            say(f"{name} had just ended by itself")
        new = _successor(data, name, old)
        say(f"{name}: {new} has taken over from {old} after {time.monotonic() - began:.1f} s")


def _all_of(data: DataDir, names: Sequence[str]) -> list[str]:
    """``web`` stands for every web server there is."""
    more = sorted(name for name in _known(data) if name.startswith("web-"))
    return [one for name in names for one in ([name, *more] if name == "web" else [name])]


def _successor(data: DataDir, name: str, old: int) -> int:
    deadline = time.monotonic() + WITHIN_S
    ready = wrote_its_pid(data.ready_file(name))
    while time.monotonic() < deadline:
        pid = _known(data).get(name, old)
        if pid != old and ready(pid):
            return pid
        time.sleep(POLL_S)
    raise EmbeddedError(f"{name} has not come back within {WITHIN_S:g} s; see {data.logs / f'{name}.log'}")


def _pid(data: DataDir, name: str) -> int:
    found = _known(data).get(name) if data.is_served() else None
    if found is None:
        raise NotServed(f"No {name} process of a running manage.py up is known in {data.root}")
    return found


def _known(data: DataDir) -> dict[str, int]:
    return dict(read_json(data.services_file).get("pids", {}))
