from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.embedded.network import free_port
from config.terminal import Client, CouncilFailed, hold_council


class Command(BaseCommand):
    help = "Hold one council in the terminal, live, on the bundled packs. Uses the running stack, or starts one for the while."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--template", default="work-week-council", help="slug of the council template")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with _stack(settings.DATA_DIR, self._say) as (url, key):
                began = time.monotonic()
                session = hold_council(Client(url, key), options["template"], self._say)
                took = time.monotonic() - began
                self._say(
                    f"\nOne council, {session['usage']['calls']} model calls, {took:.0f} s. Watch it again: {url}/councils/{session['id']}"
                )
        except (CouncilFailed, TimeoutError) as error:
            raise CommandError(str(error)) from error

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


@contextmanager
def _stack(data_dir: Path, say: Any) -> Iterator[tuple[str, str]]:
    """The URL and key of the stack that serves ``data_dir``; when none does, one is started and stopped again."""
    if (data_dir / "services.json").exists():
        yield _credentials(data_dir)
        return
    say("Starting Quorum ...")
    command = [sys.executable, "manage.py", "up", "--port", str(free_port()), "--data-dir", str(data_dir)]
    child = subprocess.Popen(command, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own words
    try:
        _wait_ready(child)
        yield _credentials(data_dir)
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(timeout=30)


def _wait_ready(child: subprocess.Popen[str]) -> None:
    """``up`` prints "Ready: URL"; when it ends instead it has said why on stderr, which is ours too."""
    if child.stdout is None:
        raise RuntimeError("the child's output is piped")
    for line in child.stdout:
        if line.startswith("Ready:"):
            return
    raise CommandError(f"manage.py up ended with status {child.wait()}")


def _credentials(data_dir: Path) -> tuple[str, str]:
    known = json.loads((data_dir / "credentials.json").read_text())
    return known["url"], known["api_key"]
