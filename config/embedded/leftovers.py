"""A server of an earlier life of this data directory that has not quite ended.

The lock is ours, so its supervisor is dead, and the kernel has told the server to end; a fast shutdown of PostgreSQL still takes a moment.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

from config.embedded.errors import DataDirBusy

PATIENCE_S = 10.0
POLL_S = 0.05


def await_postmaster(cluster: Path) -> None:
    """Wait for the old server to end, and remove its `postmaster.pid` when the number now belongs to somebody else.

    PostgreSQL clears a stale file by itself only if no process of the same user has that number, which a
    restarted container readily gives out again.
    """
    pid_file = cluster / "postmaster.pid"
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text().split("\n", 1)[0])
    if not _wait_until_gone(pid, cluster, PATIENCE_S / 2):
        os.kill(pid, signal.SIGQUIT)
        if not _wait_until_gone(pid, cluster, PATIENCE_S / 2):
            raise DataDirBusy(f"The PostgreSQL server of an earlier run (pid {pid}) on {cluster} does not end")
    pid_file.unlink(missing_ok=True)


def _wait_until_gone(pid: int, cluster: Path, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while str(cluster) in command_line(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def command_line(pid: int) -> str:
    """The words process `pid` was started with; nothing when there is no such process."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            return ""
    listed = subprocess.run(  # noqa: S603  # a fixed program, no shell
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607  # ps stands elsewhere on every system
        capture_output=True,
        text=True,
        check=False,
    )
    return listed.stdout
