"""`manage.py up` as a person runs it: an empty directory, a terminal, Ctrl-C."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from config.embedded.leftovers import command_line
from config.embedded.network import free_port

PROJECT = Path(__file__).resolve().parents[2]
OURS = ("DATABASE_URL", "REDIS_URL", "LLM_", "QUORUM_", "PUBLIC_URL", "PORT")
FIRST_START_S, SECOND_START_S, STOP_S = 90, 10, 10

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Not below pytest's own folder, which is closed to the user that root's PostgreSQL runs as."""
    path = Path(tempfile.mkdtemp(prefix="quorum-up-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


class Up:
    """A running `manage.py up`."""

    def __init__(self, directory: Path, port: int, *options: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        command = [
            sys.executable,
            str(PROJECT / "manage.py"),
            "up",
            "--port",
            str(port),
            "--data-dir",
            str(directory),
            *options,
        ]
        self.directory, self.url = directory, f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            command,
            env=env,
            cwd=directory.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_ready(self, within: float) -> float:
        """Seconds until the Ready line."""
        began = time.monotonic()
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("Ready: "):
                assert line == f"Ready: {self.url}\n"
                assert str(self.directory / "credentials.json") in self.process.stdout.readline()
                assert time.monotonic() - began < within, lines
                return time.monotonic() - began
        pytest.fail(f"ended with {self.process.wait()} before it was ready: {lines}")

    def pids(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.directory / "services.json").read_text())["pids"]
        return found

    def end(self, number: signal.Signals, within: float) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(within)
        finally:
            self.process.kill()
            if self.process.stdout is not None:
                self.process.stdout.close()


def _all_gone(pids: dict[str, int], within: float) -> bool:
    deadline = time.monotonic() + within
    while any(command_line(pid) for pid in pids.values()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(command_line(pid) for pid in pids.values())


def _processes_of(directory: Path) -> list[str]:
    lines = (command_line(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [line for line in lines if str(directory) in line]


def _count_packs(directory: Path) -> int:
    url = json.loads((directory / "services.json").read_text())["database_url"]
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM knowledge_knowledgepack").fetchone()
    return int(found[0]) if found else -1


def test_a_first_start_a_ctrl_c_a_second_start_and_a_kill(directory: Path) -> None:
    """One story, for each step needs the one before: the data must be there again."""
    data, port = directory / "var", free_port()
    first = Up(data, port)
    first.wait_ready(FIRST_START_S)
    _check_credentials(data, first.url)
    packs = _count_packs(data)
    assert packs >= 2
    pids = first.pids()
    assert {"up", "postgres", "valkey", "llm", "web", "beat", "turns", "control", "index"} <= pids.keys()
    _second_on_the_same_data_is_refused(data)
    assert first.end(signal.SIGINT, STOP_S) == 0
    assert _all_gone(pids, 0)
    assert not (data / "services.json").exists()

    second = Up(data, port)
    assert second.wait_ready(60) < SECOND_START_S
    assert _count_packs(data) == packs
    pids = second.pids()
    second.end(signal.SIGKILL, STOP_S)
    assert _all_gone(pids, 5)
    assert _processes_of(data) == []

    third = Up(data, port)
    third.wait_ready(60)
    assert third.end(signal.SIGTERM, STOP_S) == 0


def _check_credentials(data: Path, url: str) -> None:
    path = data / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    credentials = json.loads(path.read_text())
    assert credentials.keys() >= {"url", "admin_email", "admin_password", "api_key"}
    assert credentials["url"] == url
    request = urllib.request.Request(
        f"{url}/api/knowledge-packs", headers={"Authorization": f"Bearer {credentials['api_key']}"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200


def _second_on_the_same_data_is_refused(data: Path) -> None:
    refused = Up(data, free_port())
    assert refused.process.wait(30) == 1
    assert refused.process.stdout is not None
    with refused.process.stdout as output:
        lines = output.read().splitlines()
    assert len(lines) == 1
    assert re.search(r"Another process \(pid \d+\) is serving", lines[0])


def test_a_taken_port_is_one_line_and_exit_1_and_starts_nothing(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused = Up(directory / "taken", port)
        assert refused.process.wait(30) == 1
    assert refused.process.stdout is not None
    with refused.process.stdout as output:
        assert (
            output.read()
            == f"Port {port} on 127.0.0.1 is not available: stop what listens there or choose another --port\n"
        )
    assert not (directory / "taken" / "postgres").exists()


def test_an_open_stream_does_not_delay_the_end_and_a_killed_worker_comes_back(directory: Path) -> None:
    stack = Up(directory / "var", free_port(), "--no-demo")
    stack.wait_ready(FIRST_START_S)
    pids = stack.pids()
    os.kill(pids["turns"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while stack.pids().get("turns") in {None, pids["turns"]}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with socket.create_connection(("127.0.0.1", int(stack.url.rsplit(":", 1)[1]))) as held_open:
        held_open.sendall(b"GET /api/knowledge-packs HTTP/1.1\r\nHost: 127.0.0.1\r\n")  # a request that never ends
        pids = stack.pids()
        assert stack.end(signal.SIGINT, STOP_S) == 0
    assert _all_gone(pids, 0)
