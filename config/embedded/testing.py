"""PostgreSQL and Valkey for the tests: started once, shared by all test processes, gone when the last of them ends.

A *keeper* (`python -m config.embedded.testing DIR`) supervises the two. Every process that uses them holds a shared lock
on DIR/users.lock for its lifetime; the keeper leaves when it can have that lock to itself. The kernel drops the locks
of a killed process, so nothing is left running, and parallel workers need not agree who ends last.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from config.embedded import postgres, valkey
from config.embedded.errors import DataDirBusy, EmbeddedError, ServiceFailed
from config.embedded.process import redirect_to
from config.embedded.state import DataDir, ServiceUrls, read_json
from config.embedded.supervisor import Supervisor, stop_flag

PROJECT = Path(__file__).resolve().parents[2]
DEFAULT_DIR = PROJECT / "var" / "test"
START_TIMEOUT_S = 60.0
POLL_S = 0.1
# Between two runs of the tests in a row it is cheaper to stay.
LINGER_S = 2.0

READY, BUSY, EXIT_BUSY = "ready", "busy: ", 3

# Bare descriptors: a file object would warn at exit that nobody closed it, and never closing it is the point.
_held: dict[Path, int] = {}


def ensure_test_services(directory: Path = DEFAULT_DIR) -> ServiceUrls:
    """URLs of a running PostgreSQL and Valkey; those that the environment names win.

    The embedded ones have durability switched off. They live at least as long as this process.
    """
    database, broker = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", "")
    if database and broker:
        return ServiceUrls(database, broker)
    embedded = _embedded(DataDir(directory))
    return ServiceUrls(database or embedded.database_url, broker or embedded.redis_url)


def _embedded(data: DataDir) -> ServiceUrls:
    data.create()
    _announce_use(data)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if (urls := _running(data)) is not None:
            return urls
        _start_keeper(data)
    raise ServiceFailed("The test services", "did not start", data.logs / "keeper.log")


def _announce_use(data: DataDir) -> None:
    """Hold the shared lock until this process ends. Blocks while a keeper that found itself unused is leaving."""
    if data.root not in _held:
        lock = os.open(data.root / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        _held[data.root] = lock


def _running(data: DataDir) -> ServiceUrls | None:
    known = read_json(data.services_file)
    if not known or not data.is_served():
        return None
    return ServiceUrls(known["database_url"], known["redis_url"])


def _start_keeper(data: DataDir) -> None:
    """Returns when the services are up. Those who lose the race for the data directory wait a little for the winner."""
    command = [sys.executable, "-m", "config.embedded.testing", str(data.root)]
    started = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)  # noqa: S603  # our own module
    if started.returncode == EXIT_BUSY:
        time.sleep(0.5)
    elif started.returncode != 0:
        raise EmbeddedError(started.stderr.strip() or "The keeper of the test services could not be started")


def keep(data: DataDir, ready: Callable[[], None]) -> None:
    """Serve until nobody uses us. The lock on users.lock is held while we leave, so that whoever comes then waits for the end."""
    stopping = stop_flag()
    with data.locked(), (data.root / "users.lock").open("a+") as users:
        data.forget_services()
        supervisor = Supervisor(say=_log)
        try:
            urls = _start(data, supervisor)
            data.write_services(urls, {"keeper": os.getpid(), **supervisor.pids()})
            ready()
            _serve(supervisor, users, stopping)
        finally:
            data.forget_services()
            supervisor.stop([["valkey"], ["postgres"]])


def _start(data: DataDir, supervisor: Supervisor) -> ServiceUrls:
    database, broker = postgres.prepare(data, postgres.DISPOSABLE), valkey.prepare(data)
    supervisor.start(database.spec(), broker.spec())
    supervisor.wait_healthy()
    database.ensure_database()
    return ServiceUrls(database.url, broker.url)


def _serve(supervisor: Supervisor, users: IO[str], stopping: Callable[[], bool]) -> None:
    last_used = time.monotonic()
    while not stopping():
        supervisor.step()
        time.sleep(POLL_S)
        if not _exclusive(users):
            last_used = time.monotonic()
        elif time.monotonic() - last_used > LINGER_S:
            return
        else:
            fcntl.flock(users, fcntl.LOCK_UN)


def _exclusive(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _log(line: str) -> None:
    print(line, flush=True)  # stdout is keeper.log


def main(directory: str) -> int:
    """Fork a keeper that outlives us, and tell how its start went."""
    data = DataDir(Path(directory))
    news, report = os.pipe()
    if os.fork() == 0:
        os.close(news)
        os._exit(_be_keeper(data, report))
    os.close(report)
    with os.fdopen(news) as stream:
        outcome = stream.read()
    if outcome == READY:
        return 0
    print(outcome or f"The keeper of the test services died; see {data.logs / 'keeper.log'}", file=sys.stderr)
    return EXIT_BUSY if outcome.startswith(BUSY) else 1


def _be_keeper(data: DataDir, report: int) -> int:
    os.setsid()
    redirect_to(data.logs / "keeper.log")
    try:
        keep(data, ready=lambda: _tell(report, READY))
    except DataDirBusy as error:
        _tell(report, f"{BUSY}{error}")
    except EmbeddedError as error:
        _log(str(error))
        _tell(report, str(error))
        return 1
    return 0


def _tell(report: int, outcome: str) -> None:
    os.write(report, outcome.encode())
    os.close(report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
