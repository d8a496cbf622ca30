"""The whole stack as `make run` starts it, with a fake model server as its only model, for benchmarks over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.embedded.network import free_port
from config.embedded.testing import ensure_test_services
from config.terminal import Client

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = ("DATABASE_URL", "REDIS_URL")


@contextmanager
def quorum(**env: str) -> Iterator[Client]:
    """Start `manage.py up` in a directory of its own (durability on, as shipped), stop it and everything at the end."""
    with quorum_in_folder(**env) as (client, _):
        yield client


@contextmanager
def quorum_in_folder(*more: str, **env: str) -> Iterator[tuple[Client, Path]]:
    """As ``quorum``, with its data directory, and with ``more`` on the command line of ``up``."""
    with tempfile.TemporaryDirectory(prefix="quorum-bench-") as folder, _fake_models() as models:
        Path(folder).chmod(0o755)  # PostgreSQL runs as an unprivileged user when we are root
        inherited = {name: value for name, value in os.environ.items() if name not in EMBEDDED}
        settings = {"LLM_BASE_URL": models, "LLM_MODEL": "fake", "RATE_LIMITS": "false", **env}
        command = [
            sys.executable,
            "manage.py",
            "up",
            "--no-demo",
            "--port",
            str(free_port()),
            "--data-dir",
            f"{folder}/d",
            *more,
        ]
        with subprocess.Popen(
            command, cwd=ROOT, env={**inherited, **settings}, stdout=subprocess.PIPE, text=True
        ) as up:
            try:
                _wait_ready(up)
                # It tells of every restart, and would stand still with its supervision once nobody empties the pipe.
                threading.Thread(target=_drain, args=(up,), daemon=True).start()
                known = json.loads(Path(folder, "d", "credentials.json").read_text())
                yield Client(known["url"], known["api_key"]), Path(folder, "d")
            finally:
                up.send_signal(signal.SIGINT)
                up.wait(timeout=30)


def database() -> None:
    """PostgreSQL and Valkey of the benches' own, which end soon after this process, and Django set up on them; those that
    ``DATABASE_URL`` and ``REDIS_URL`` name win. For benches of the library below the HTTP API."""
    urls = ensure_test_services(ROOT / "var" / "bench")
    os.environ |= {"DATABASE_URL": urls.database_url, "REDIS_URL": urls.redis_url}
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


@contextmanager
def _fake_models() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.support.fake_openai", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def _wait_ready(up: subprocess.Popen[str]) -> None:
    assert up.stdout is not None
    for line in up.stdout:
        if line.startswith("Ready:"):
            return
    raise SystemExit(f"manage.py up ended with status {up.wait()}")


def _drain(up: subprocess.Popen[str]) -> None:
    assert up.stdout is not None
    for _line in up.stdout:
        pass
