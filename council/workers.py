"""Which process is at a turn, and whether it still lives, as far as that can be told from here."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

_NAMESPACE: Final = Path("/proc/self/ns/pid")
# Processes whose numbers mean the same here and there. Containers may share a host's name and count their processes apart.
_HERE: Final = f"{socket.gethostname()}:{_NAMESPACE.readlink() if _NAMESPACE.exists() else ''}"


def name() -> str:
    """Of this process. Not a constant: workers are forks of a process that has loaded everything."""
    return f"{_HERE}:{os.getpid()}"


def has_died(worker: str) -> bool:
    """True when the process was one of this machine and is not there any more. Of others nothing is known."""
    here, _, pid = worker.rpartition(":")
    if here != _HERE:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # it runs, as another user
    return False
