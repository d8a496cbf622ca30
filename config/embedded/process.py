"""One child process: how it is described, started, watched and ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from config.embedded import exec_child

# The environment variable that tells a Celery child where to report that it is ready.
READY_FILE = "QUORUM_READY_FILE"
LOG_CAP_BYTES = 10 * 1024 * 1024
SHIM = [sys.executable, "-I", "-S", str(Path(exec_child.__file__).resolve())]


@dataclass(frozen=True)
class Identity:
    """A system user to run as; `None` in its place means the user we are."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class ChildSpec:
    """What to run and how to tell that it works.

    `healthy` is asked about ten times a second until it first says yes, and must answer within about a second.
    `stop_signals` are sent in turn, `stop_grace` seconds apart, before SIGKILL.
    """

    name: str
    argv: list[str]
    log: Path
    healthy: Callable[[int], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    identity: Identity | None = None
    death_signal: signal.Signals = signal.SIGKILL
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)
    stop_grace: float = 2.0


class Child:
    """A started process.

    It leads its own session, so a Ctrl-C at the terminal reaches us alone, and a group kill reaches its children too.
    """

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.started_at = time.monotonic()
        self._process = _spawn(spec)

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self) -> bool:
        """True once the process is dead.

        What it leaves of its group is killed *before* it is reaped: until then nobody else can get the number.
        """
        if self._process.returncode is not None:
            return True
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if os.waitid(os.P_PID, self.pid, options) is None:
            return False
        self.kill_group()
        self._process.wait()
        return True

    @property
    def returncode(self) -> int | None:
        """As of the last look; None while it runs."""
        return self._process.returncode

    @property
    def exit_status(self) -> str:
        code = self.returncode
        return f"signal {-code}" if code is not None and code < 0 else f"status {code}"

    def send(self, signal_number: signal.Signals) -> None:
        """Signal the process itself; its own children are its business."""
        if not self.has_ended():
            self._process.send_signal(signal_number)

    def end(self) -> None:
        """Kill it and its group, and wait; nothing happens when it has ended."""
        if not self.has_ended():
            self.kill_group()
            self._process.wait()

    def kill_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        except PermissionError:
            # macOS says so of a group in which only the zombie is left.
            return


def _spawn(spec: ChildSpec) -> "subprocess.Popen[bytes]":
    uid, gid = (spec.identity.uid, spec.identity.gid) if spec.identity else (exec_child.SAME_USER, exec_child.SAME_USER)
    preamble = [str(os.getpid()), str(int(spec.death_signal)), str(uid), str(gid)]
    with open_log(spec.log) as log:
        return subprocess.Popen(  # noqa: S603  # fixed programs, no shell
            [*SHIM, *preamble, *spec.argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **spec.env},
            cwd=spec.cwd,
            start_new_session=True,
        )


def open_log(path: Path) -> IO[bytes]:
    """Append to the log; one that has grown past the cap is first set aside, and the previous one dropped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_CAP_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")
