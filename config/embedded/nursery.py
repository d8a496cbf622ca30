"""Loads Django once, then forks the processes of Quorum and supervises them: `python -m config.embedded.nursery …`.

Each of the five processes, and the migration before them, needs Django and all apps: 3 to 4 s of CPU every time. Started
one by one they took 27 s of CPU to a second Ready, 25 to 30 s on two busy cores; forked they take 7 s, and 8.7 s there.

The nursery itself never touches the database, the broker or a model: what it forks would share its sockets.
"""

import argparse
import gc
import importlib
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import django
from django.core.management import call_command

from config.embedded.address import Address
from config.embedded.apps import AppOptions, specs
from config.embedded.errors import CommandFailed, EmbeddedError, last_line
from config.embedded.process import Child, ChildSpec
from config.embedded.state import DataDir, write_private_json
from config.embedded.supervisor import TICK_S, Supervisor, stop_flag
from config.web import bind

# What the children would import next; the routes come with the first request otherwise.
PRELOADED = ("config.asgi", "config.urls", "celery.bin.celery", "celery.apps.worker", "uvicorn.protocols.http.auto")


def main(arguments: Sequence[str]) -> int:
    chosen = _parse(arguments)
    data = DataDir(chosen.data_dir)
    address = Address(chosen.host, chosen.port)
    stopping = stop_flag()
    load()
    supervisor = Supervisor(say=_log, pids_changed=partial(_tell_pids, data))
    listeners: list[socket.socket] = []
    try:
        listeners = bind(address.host, address.port)
        _prepare(data, address.url, chosen.demo, stopping)
        supervisor.start(*specs(data, AppOptions(listeners, chosen.index_processes, chosen.web_processes)))
        if supervisor.wait_healthy(stopping):
            data.ready_file("apps").write_text(str(os.getpid()))
            supervisor.run(stopping)
    except EmbeddedError as error:
        _log(str(error))
        return 1
    finally:
        for one in listeners:
            one.close()  # from here on connections are refused as soon as the server closes its own
        supervisor.stop([])  # all at once
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m config.embedded.nursery", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--index-processes", type=int, required=True)
    parser.add_argument("--web-processes", type=int, default=1)
    parser.add_argument("--demo", action=argparse.BooleanOptionalAction, required=True)
    return parser.parse_args(arguments)


def load() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    for module in PRELOADED:
        importlib.import_module(module)
    # Objects that survive a collection here are left alone by the children's collections, which would unshare their pages.
    gc.collect()
    gc.freeze()


def _prepare(data: DataDir, url: str, demo: bool, stopping: Callable[[], bool]) -> None:
    """Migrate and bootstrap, in a child: the connections and threads that this takes end with it."""
    log = data.logs / "prepare.log"
    spec = ChildSpec("prepare", [], log, healthy=lambda _pid: True, run=partial(migrate_and_bootstrap, url, demo=demo))
    child = Child(spec)
    try:
        while not child.has_ended() and not stopping():
            time.sleep(TICK_S)
    finally:
        child.end()
    if child.returncode != 0 and not stopping():
        reason = last_line(log.read_text(errors="replace"))
        raise CommandFailed(f"Preparing the database failed: {reason}; see {log}")


def migrate_and_bootstrap(url: str, *, demo: bool) -> None:
    call_command("migrate", interactive=False, verbosity=0)
    call_command("bootstrap", *([] if demo else ["--no-demo"]), url=url)


def _tell_pids(data: DataDir, pids: Mapping[str, int]) -> None:
    write_private_json(data.app_pids_file, pids)


def _log(line: str) -> None:
    print(line, flush=True)  # stdout is apps.log


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
