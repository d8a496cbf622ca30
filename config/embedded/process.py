"""One child process: how it is described, started, watched and ended.

A child is either a program (`argv`, started through `exec_child`) or a function (`run`, called in a fork of this process).
"""

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
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
    """What to run, a program or a function, and how to tell that it works.

    `healthy` is asked about ten times a second until it first says yes, and must answer within about a second.
    `stop_signals` are sent in turn, `stop_grace` seconds apart, before SIGKILL.
    """

    name: str
    argv: list[str]
    log: Path
    healthy: Callable[[int], bool]
    run: Callable[[], object] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    identity: Identity | None = None
    death_signal: signal.Signals = signal.SIGKILL
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)
    stop_grace: float = 2.0
    # Instead of the supervisor's own: seconds until the first health, and deaths before it.
    start_timeout: float | None = None
    max_early_deaths: int | None = None
    # A file that it touches every now and then once it is healthy (``liveness``); None: its silence means nothing.
    sign_of_life: Path | None = None


class Child:
    """A started process.

    It leads its own session, so a Ctrl-C at the terminal reaches us alone, and a group kill reaches its children too.
    """

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.started_at = time.monotonic()
        self._process: subprocess.Popen[bytes] | ForkedProcess = (
            _spawn(spec) if spec.run is None else ForkedProcess(spec, spec.run)
        )

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
            # One that was forked this instant may not lead its group yet.
            self._process.send_signal(signal.SIGKILL)
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


def wrote_its_pid(ready: Path) -> Callable[[int], bool]:
    """Health of a child that writes its process id there once it works; the file of a predecessor holds another number."""
    return lambda pid: ready.exists() and ready.read_text() == str(pid)


class ForkedProcess:
    """As much of `Popen` as a child needs, for a function in a fork of this process.

    A fork shares what is loaded: Django and all apps take 3 s of CPU, five times over without this. It must happen
    while this process has a single thread, for no other thread would exist in the child, though its locks would.
    """

    def __init__(self, spec: ChildSpec, run: Callable[[], object]) -> None:
        if threading.active_count() > 1:
            raise RuntimeError(f"Forking {spec.name} from a process with threads: {threading.enumerate()}")
        self.returncode: int | None = None
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(_live(spec, run, parent))

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _live(spec: ChildSpec, run: Callable[[], object], parent: int) -> int:
    """The life of a forked child; returns its exit status and never raises, for above us is the parent's code."""
    try:
        os.setsid()
        exec_child.die_with_parent(parent, spec.death_signal)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        redirect_to(spec.log)
        os.environ.update(spec.env)
        run()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # noqa: BLE001  # whatever it is, it ends here
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def redirect_to(path: Path) -> None:
    with open_log(path) as log, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def open_log(path: Path) -> IO[bytes]:
    """Append to the log; one that has grown past the cap is first set aside, and the previous one dropped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_CAP_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")
