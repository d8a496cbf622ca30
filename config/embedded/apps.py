"""Quorum's own processes: the web server, the Celery workers and beat."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.embedded.network import answers
from config.embedded.process import READY_FILE, ChildSpec
from config.embedded.state import DataDir

PROJECT = Path(__file__).resolve().parents[2]
TURN_THREADS = 32
CONTROL_THREADS = 4
# Workers chat with each other for these, which delays their start and does nothing for one machine.
QUICK_START = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
GRACEFUL_SHUTDOWN_S = 5


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @property
    def url(self) -> str:
        """How a browser on this machine reaches the server."""
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  # compared, not bound
        return f"http://[{name}]:{self.port}" if ":" in name else f"http://{name}:{self.port}"


def specs(data: DataDir, address: Address, index_processes: int, env: Mapping[str, str]) -> list[ChildSpec]:
    """All of them; `env` tells where the services are."""
    index = ["--pool", "prefork", "--concurrency", str(index_processes)]
    return [
        _web(data, address, env),
        _celery(data, "beat", ["beat", "-s", str(_beat_schedule(data))], env),
        _worker(data, "turns", ["--pool", "threads", "--concurrency", str(TURN_THREADS)], env),
        _worker(data, "control", ["--pool", "threads", "--concurrency", str(CONTROL_THREADS)], env),
        _worker(data, "index", index, env),
    ]


def _web(data: DataDir, address: Address, env: Mapping[str, str]) -> ChildSpec:
    where = ["--host", address.host, "--port", str(address.port), "--workers", "1"]
    manners = ["--no-access-log", "--timeout-graceful-shutdown", str(GRACEFUL_SHUTDOWN_S)]
    return ChildSpec(
        name="web",
        argv=[sys.executable, "-m", "uvicorn", "config.asgi:application", *where, *manners],
        log=data.logs / "web.log",
        healthy=lambda _pid: answers(f"{address.url}/livez"),
        env=env,
        cwd=PROJECT,
        # Open event streams are given uvicorn's whole grace, and it a moment more to leave.
        stop_grace=GRACEFUL_SHUTDOWN_S + 0.5,
    )


def _worker(data: DataDir, queue: str, pool: list[str], env: Mapping[str, str]) -> ChildSpec:
    command = ["worker", "-Q", queue, "-n", f"{queue}@%h", "--prefetch-multiplier", "1", *pool, *QUICK_START]
    return _celery(data, queue, command, env)


def _celery(data: DataDir, name: str, command: list[str], env: Mapping[str, str]) -> ChildSpec:
    ready = data.root / "run" / f"{name}.ready"
    ready.parent.mkdir(mode=0o700, exist_ok=True)
    return ChildSpec(
        name=name,
        argv=[sys.executable, "-m", "config.embedded.celery_child", "-A", "config", *command, "--loglevel", "INFO"],
        log=data.logs / f"{name}.log",
        healthy=lambda pid: _wrote(ready, pid),
        env={**env, READY_FILE: str(ready)},
        cwd=PROJECT,
        # A turn in flight may take minutes; its lease runs out and it is taken up again at the next start.
        stop_grace=4.0,
    )


def _wrote(ready: Path, pid: int) -> bool:
    """A file of the child's predecessor carries another number."""
    return ready.exists() and ready.read_text() == str(pid)


def _beat_schedule(data: DataDir) -> Path:
    folder = data.root / "beat"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / "schedule"


def default_index_processes() -> int:
    """One on two cores; half of them on more, since embedding also uses threads of its own."""
    return max(1, (os.cpu_count() or 1) // 2)
