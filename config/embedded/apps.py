"""Quorum's own processes: the web server, the Celery workers and beat. Functions that the nursery forks and calls."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from config.embedded import celery_child
from config.embedded.address import Address
from config.embedded.network import answers
from config.embedded.process import READY_FILE, ChildSpec, wrote_its_pid
from config.embedded.state import DataDir

TURN_THREADS = 32
CONTROL_THREADS = 4
# Workers chat with each other for these, which delays their start and does nothing for one machine.
QUICK_START = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
GRACEFUL_SHUTDOWN_S = 5


@dataclass(frozen=True)
class AppOptions:
    address: Address
    index_processes: int


def specs(data: DataDir, options: AppOptions) -> list[ChildSpec]:
    return [
        _web(data, options.address),
        _celery(data, "beat", ["beat", "-s", str(_beat_schedule(data))]),
        _worker(data, "turns", ["--pool", "threads", "--concurrency", str(TURN_THREADS)]),
        _worker(data, "control", ["--pool", "threads", "--concurrency", str(CONTROL_THREADS)]),
        _worker(data, "index", ["--pool", "prefork", "--concurrency", str(options.index_processes)]),
    ]


def _web(data: DataDir, address: Address) -> ChildSpec:
    return ChildSpec(
        name="web",
        argv=[],
        run=partial(serve_web, address),
        log=data.logs / "web.log",
        healthy=lambda _pid: answers(f"{address.url}/livez"),
        # Open event streams are given uvicorn's whole grace, and it a moment more to leave.
        stop_grace=GRACEFUL_SHUTDOWN_S + 0.5,
    )


def serve_web(address: Address) -> None:
    import uvicorn

    uvicorn.run(
        "config.asgi:application",
        host=address.host,
        port=address.port,
        access_log=False,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_S,
    )


def _worker(data: DataDir, queue: str, pool: list[str]) -> ChildSpec:
    return _celery(
        data, queue, ["worker", "-Q", queue, "-n", f"{queue}@%h", "--prefetch-multiplier", "1", *pool, *QUICK_START]
    )


def _celery(data: DataDir, name: str, command: list[str]) -> ChildSpec:
    ready = data.ready_file(name)
    return ChildSpec(
        name=name,
        argv=[],
        run=partial(celery_child.main, ["-A", "config", *command, "--loglevel", "INFO"]),
        log=data.logs / f"{name}.log",
        healthy=wrote_its_pid(ready),
        env={READY_FILE: str(ready)},
        sign_of_life=ready,
        # What is at work is given back within 2 s, and the process ends itself after 3 (``realtime.stopping``).
        stop_grace=4.0,
    )


def _beat_schedule(data: DataDir) -> Path:
    folder = data.root / "beat"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / "schedule"
