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
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psycopg
import pytest

from config.embedded.leftovers import command_line
from config.embedded.network import answers, free_port
from tests.support.afterwards import assert_councils_were_blind_and_recount

PROJECT = Path(__file__).resolve().parents[2]
OURS = ("DATABASE_URL", "REDIS_URL", "LLM_", "QUORUM_", "PUBLIC_URL", "PORT")
# Ready in 10 s is asked for on an idle machine (docs/benchmarks.md); a busy one took 17. The bound here tells a restart from a hang.
FIRST_START_S, SECOND_START_S, STOP_S = 90, 30, 10

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.xdist_group("live")]


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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

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
        """Before it is told to, what it has stored is looked at, unless it is to be killed."""
        if number == signal.SIGINT:
            url = json.loads((self.directory / "services.json").read_text())["database_url"]
            assert_councils_were_blind_and_recount(url)
        self.process.send_signal(number)
        return self.process.wait(within)

    def refusal(self) -> list[str]:
        """What it printed before it gave up, which it must do with status 1."""
        printed, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 1, printed
        return printed.splitlines()


def _all_gone(pids: dict[str, int], within: float) -> bool:
    return _eventually(lambda: not any(command_line(pid) for pid in pids.values()), within)


def _eventually(condition: Callable[[], bool], within: float) -> bool:
    deadline = time.monotonic() + within
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


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
    with Up(data, port) as first:
        first.wait_ready(FIRST_START_S)
        _check_credentials(data, first.url)
        packs = _count_packs(data)
        assert packs >= 2
        pids = first.pids()
        assert pids.keys() == {"up", "postgres", "valkey", "llm", "apps", "web", "beat", "turns", "control", "index"}
        with Up(data, free_port()) as another:
            assert re.fullmatch(r"Another process \(pid \d+\) is serving .*", "\n".join(another.refusal()))
        assert first.end(signal.SIGINT, STOP_S) == 0
    assert _all_gone(pids, 0)
    assert not (data / "services.json").exists()

    with Up(data, port) as second:
        second.wait_ready(SECOND_START_S)
        assert _count_packs(data) == packs
        pids = second.pids()
        second.end(signal.SIGKILL, STOP_S)
    assert _all_gone(pids, 5)
    assert _processes_of(data) == []

    with Up(data, port) as third:
        third.wait_ready(FIRST_START_S)
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


def _kill_and_await_return(stack: Up, victim: str) -> None:
    """The nursery takes its children along, so all of them have to come back."""
    before = stack.pids()
    os.kill(before[victim], signal.SIGKILL)
    affected = {victim} if victim != "apps" else {"apps", "web", "web-2", "beat", "turns", "control", "index"}
    assert _eventually(lambda: all(stack.pids().get(name, before[name]) != before[name] for name in affected), 60), (
        victim
    )


def _restart_while_somebody_asks(stack: Up, names: list[str], restarted: list[str]) -> None:
    """`manage.py restart`: "web" is every web server. No connection is refused; each request is answered, some when sent again."""
    before, ending, refused, answered = stack.pids(), threading.Event(), list[str](), list[int]()

    def ask() -> None:
        while not ending.is_set():
            try:
                with urllib.request.urlopen(f"{stack.url}/livez", timeout=60) as response:
                    answered.append(response.status)
            except ConnectionError:
                continue  # accepted by a server that was about to end
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionResetError | BrokenPipeError):
                    refused.append(repr(error.reason))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        env = {**os.environ, "QUORUM_DATA_DIR": str(stack.directory)}
        command = [sys.executable, str(PROJECT / "manage.py"), "restart", *names]
        said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    finally:
        ending.set()
        asking.join(90)
    assert said.returncode == 0, said.stderr
    assert [line.split(":")[0] for line in said.stdout.splitlines()] == restarted
    after = stack.pids()
    assert {name for name, pid in before.items() if after[name] != pid} == set(restarted)
    assert (refused, set(answered)) == ([], {200})


def test_a_taken_port_is_one_line_and_exit_1_and_starts_nothing(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with Up(directory / "taken", port) as refused:
            reason = f"Port {port} on 127.0.0.1 is not available: stop what listens there or choose another --port"
            assert refused.refusal() == [reason]
    assert not (directory / "taken" / "postgres").exists()


def test_what_is_killed_comes_back_and_an_open_connection_does_not_delay_the_end(directory: Path) -> None:
    port = free_port()
    with Up(directory / "var", port, "--no-demo", "--web-processes", "2") as stack:
        stack.wait_ready(FIRST_START_S)
        _restart_while_somebody_asks(stack, ["web", "turns", "beat"], ["web", "web-2", "turns", "beat"])
        for victim in ("turns", "postgres", "apps"):
            _kill_and_await_return(stack, victim)
        assert _eventually(lambda: answers(f"{stack.url}/livez"), 60)
        with socket.create_connection(("127.0.0.1", port)) as held_open:
            held_open.sendall(b"GET /api/knowledge-packs HTTP/1.1\r\nHost: 127.0.0.1\r\n")  # a request that never ends
            pids = stack.pids()
            assert stack.end(signal.SIGINT, STOP_S) == 0
    assert _all_gone(pids, 0)
