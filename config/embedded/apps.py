"""Quorum's own processes: the web server, the Celery workers and beat. Functions that the nursery forks and calls."""

import socket
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from config.embedded import celery_child
from config.embedded.process import READY_FILE, ChildSpec, wrote_its_pid
from config.embedded.state import DataDir
from config.web import GRACEFUL_SHUTDOWN_S, serve

TURN_THREADS = 32
CONTROL_THREADS = 4
# Workers chat with each other for these, which delays their start and does nothing for one machine.
QUICK_START = ["--without-gossip", "--without-mingle", "--without-heartbeat"]


@dataclass(frozen=True)
class AppOptions:
    listeners: list[socket.socket]  # of the web servers; they stay open while one is started again
    index_processes: int
    web_processes: int = 1

    @property
    def web_names(self) -> list[str]:
        return ["web", *(f"web-{number}" for number in range(2, self.web_processes + 1))]


def specs(data: DataDir, options: AppOptions) -> list[ChildSpec]:
    workers = [
        _celery(data, "beat", ["beat", "-s", str(_beat_schedule(data))]),
        _worker(data, "turns", ["--pool", "threads", "--concurrency", str(TURN_THREADS)]),
        _worker(data, "control", ["--pool", "threads", "--concurrency", str(CONTROL_THREADS)]),
        _worker(data, "index", ["--pool", "prefork", "--concurrency", str(options.index_processes)]),
    ]
    servers = [_web(data, name, options.listeners) for name in options.web_names]
    return [*servers, *(replace(one, closes=options.listeners) for one in workers)]


def _web(data: DataDir, name: str, listeners: list[socket.socket]) -> ChildSpec:
    ready = data.ready_file(name)
    return ChildSpec(
        name=name,
        argv=[],
        run=partial(serve, listeners),
        log=data.logs / f"{name}.log",
        # Not by a request: it would wait in the queue of the listening socket while nobody accepts.
        healthy=wrote_its_pid(ready),
        env={READY_FILE: str(ready)},
        sign_of_life=ready,
        # Open event streams are given uvicorn's whole grace, and it a moment more to leave.
        stop_grace=GRACEFUL_SHUTDOWN_S + 0.5,
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
