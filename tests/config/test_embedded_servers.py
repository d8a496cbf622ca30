"""PostgreSQL, Valkey and Celery children, started for real."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
import redis

from config.embedded import leftovers, postgres, unprivileged, valkey
from config.embedded.address import Address
from config.embedded.errors import DataDirError
from config.embedded.process import READY_FILE, Child, ChildSpec
from config.embedded.state import DataDir
from config.embedded.supervisor import Supervisor
from config.embedded.testing import ensure_test_services

PROJECT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about being root")


@pytest.fixture(scope="module")
def open_dir() -> Iterator[Path]:
    """Not below pytest's own folder, which is closed to other users: root's PostgreSQL would then live elsewhere."""
    directory = Path(tempfile.mkdtemp(prefix="quorum-test-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def unpacked(open_dir: Path) -> Path:
    home = open_dir / "unpacked"
    home.mkdir(mode=0o711)
    postgres.unpack(home, identity=None)
    return home


@pytest.fixture
def data(open_dir: Path, unpacked: Path) -> Iterator[DataDir]:
    """A data directory that need not unpack PostgreSQL again."""
    directory = DataDir(Path(tempfile.mkdtemp(dir=open_dir)))
    directory.root.chmod(0o711)
    directory.create()
    home = unprivileged.home_for(directory, "postgres")
    for distribution in unpacked.glob("dist-*"):
        (home / distribution.name).symlink_to(distribution)
    yield directory
    shutil.rmtree(directory.root)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop([])


def _start(
    supervisor: Supervisor, data: DataDir, settings: Mapping[str, str] = postgres.DISPOSABLE
) -> postgres.Postgres:
    server = postgres.prepare(data, settings)
    supervisor.start(server.spec())
    supervisor.wait_healthy()
    server.ensure_database()
    return server


def _eventually(condition: Callable[[], bool], within: float = 20) -> bool:
    deadline = time.monotonic() + within
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_postgres_has_the_extensions_and_data_outlive_a_restart(data: DataDir, supervisor: Supervisor) -> None:
    first = _start(supervisor, data)
    with psycopg.connect(first.url) as connection:
        for extension in ("vector", "pg_trgm", "unaccent"):
            connection.execute(f"CREATE EXTENSION {extension}")
        connection.execute("CREATE TABLE kept AS SELECT '[1,2]'::vector AS v, lower('ÄÉ') AS t")
    supervisor.stop([["postgres"]])
    second = _start(supervisor, data)
    assert second.url == first.url
    with psycopg.connect(second.url) as connection:
        assert connection.execute("SELECT v::text, t FROM kept").fetchone() == ("[1,2]", "äé")


def test_postgres_wants_its_password_and_listens_on_loopback_only(data: DataDir, supervisor: Supervisor) -> None:
    server = _start(supervisor, data)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url.replace(server.password, "guess"))
    with psycopg.connect(server.url) as connection:
        shown = connection.execute("SELECT current_setting('listen_addresses'), current_setting('password_encryption')")
        assert shown.fetchone() == ("127.0.0.1", "scram-sha-256")


def test_the_served_settings_are_durable_and_room_for_every_process(data: DataDir, supervisor: Supervisor) -> None:
    server = _start(supervisor, data, postgres.LAPTOP)
    with psycopg.connect(server.url) as connection:
        names = ("fsync", "full_page_writes", "synchronous_commit", "max_connections", "shared_buffers")
        shown = [connection.execute("SELECT current_setting(%s)", [name]).fetchone() for name in names]
    assert shown == [("on",), ("on",), ("on",), ("200",), ("256MB",)]


def test_postgres_starts_again_after_its_machine_was_cut_off(data: DataDir, supervisor: Supervisor) -> None:
    server = _start(supervisor, data)
    os.kill(supervisor.pids()["postgres"], signal.SIGKILL)
    assert _eventually(
        lambda: not leftovers.command_line(supervisor.pids().get("postgres", 0)).startswith(str(server.home))
    )
    supervisor.stop([])
    pid_file = server.cluster / "postmaster.pid"
    assert pid_file.exists()
    # The number now belongs to another process, as it does after a container is started anew.
    pid_file.write_text(pid_file.read_text().replace(pid_file.read_text().split("\n", 1)[0], str(os.getpid()), 1))
    assert _start(supervisor, data).answers()


def test_a_predecessor_that_lingers_is_waited_for(
    data: DataDir, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "PATIENCE_S", 1.0)
    server = _start(supervisor, data)
    old = supervisor.pids()["postgres"]
    leftovers.await_postmaster(server.cluster)
    assert str(server.cluster) not in leftovers.command_line(old)


def test_a_cluster_without_its_password_is_an_error_not_a_lockout(data: DataDir) -> None:
    postgres.prepare(data, postgres.DISPOSABLE)
    (data.root / "secrets.json").unlink()
    with pytest.raises(DataDirError, match="which holds its password, is gone"):
        postgres.prepare(data, postgres.DISPOSABLE)


def test_a_cluster_of_another_major_version_is_refused(data: DataDir) -> None:
    server = postgres.prepare(data, postgres.DISPOSABLE)
    (server.cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(DataDirError, match="was made by PostgreSQL 17"):
        postgres.prepare(data, postgres.DISPOSABLE)


def test_an_interrupted_initdb_is_done_again(data: DataDir) -> None:
    server = postgres.prepare(data, postgres.DISPOSABLE)
    shutil.rmtree(server.cluster)
    (server.home / "initdb-interrupted" / "data").mkdir(parents=True)
    assert (postgres.prepare(data, postgres.DISPOSABLE).cluster / "PG_VERSION").exists()
    assert not list(server.home.glob("initdb-*"))


@as_root
def test_root_runs_postgres_as_somebody_else(data: DataDir, supervisor: Supervisor) -> None:
    server = _start(supervisor, data)
    owner = Path(f"/proc/{supervisor.pids()['postgres']}").stat().st_uid
    assert owner != 0
    assert server.cluster.stat().st_uid == owner


@as_root
def test_data_that_the_other_user_cannot_reach_go_where_it_can(
    data: DataDir, supervisor: Supervisor, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = DataDir(tmp_path_factory.mktemp("hidden"))
    monkeypatch.setattr(unprivileged, "FALLBACK_PARENTS", (Path("/proc/nowhere"), data.root))
    hidden.create()
    server = _start(supervisor, hidden)
    assert server.home.parent == data.root
    supervisor.stop([])
    # Even when the way is open later: the data are where they are.
    monkeypatch.setattr(unprivileged, "may_enter", lambda _path, _identity: True)
    assert unprivileged.home_for(hidden, "postgres") == server.home


@as_root
def test_a_fallback_that_somebody_else_made_is_not_used(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = DataDir(data.root / "hidden")
    hidden.create()
    hidden.root.chmod(0o700)
    monkeypatch.setattr(unprivileged, "FALLBACK_PARENTS", (data.root,))
    planted = next(unprivileged._fallbacks(hidden, "postgres"))
    planted.mkdir()
    os.chown(planted, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(DataDirError, match="No directory that both root and an unprivileged user can use"):
        postgres.prepare(hidden)


ORDINARY = """
import sys
from pathlib import Path
from config.embedded import postgres
from config.embedded.state import DataDir
from config.embedded.supervisor import Supervisor
data = DataDir(Path(sys.argv[1]))
data.create()
server, supervisor = postgres.prepare(data, postgres.DISPOSABLE), Supervisor()
try:
    supervisor.start(server.spec())
    supervisor.wait_healthy()
    server.ensure_database()
    print(server.identity, server.answers(), server.cluster.stat().st_uid)
finally:
    supervisor.stop([])
"""


@as_root
def test_an_ordinary_user_runs_postgres_as_itself(data: DataDir) -> None:
    nobody = pwd.getpwnam("nobody")
    python = _python_for(nobody)
    home = data.root / "home"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    ran = _as_user(nobody, [python, "-c", ORDINARY, str(home / "var")])
    assert (ran.stdout.strip(), ran.stderr) == (f"None True {nobody.pw_uid}", "")


def _as_user(user: pwd.struct_passwd, argv: list[str]) -> "subprocess.CompletedProcess[str]":
    packages = str(Path(psycopg.__file__).parents[1])
    env = {"PATH": os.defpath, "PYTHONPATH": f"{PROJECT}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        argv,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def _python_for(user: pwd.struct_passwd) -> str:
    """Ours may lie in root's home; then the system's, if it is of the same version and so loads the same packages."""
    same_version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for candidate in (sys.executable, f"/usr/bin/{same_version}", f"/usr/local/bin/{same_version}"):
        try:
            if _as_user(user, [candidate, "-c", "import psycopg, config"]).returncode == 0:
                return candidate
        except OSError:
            continue
    pytest.skip("no Python that an ordinary user can run with our packages")


@as_root
def test_an_ordinary_user_is_told_that_the_data_belong_to_another(data: DataDir) -> None:
    nobody = pwd.getpwnam("nobody")
    python = _python_for(nobody)
    (data.root / "var" / "postgres").mkdir(parents=True)
    os.chown(data.root / "var", nobody.pw_uid, nobody.pw_gid)
    ran = _as_user(nobody, [python, "-c", ORDINARY, str(data.root / "var")])
    assert "postgres belongs to another user; run as that user or choose another --data-dir" in ran.stderr


def test_valkey_wants_its_password_and_keeps_what_it_was_given(data: DataDir, supervisor: Supervisor) -> None:
    server = valkey.prepare(data)
    supervisor.start(server.spec())
    supervisor.wait_healthy()
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "1")
    with redis.Redis(port=server.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    os.kill(supervisor.pids()["valkey"], signal.SIGKILL)
    supervisor.stop([])
    supervisor.start(valkey.prepare(data).spec())
    supervisor.wait_healthy()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"1"


def test_the_valkey_password_is_not_in_the_process_list(data: DataDir) -> None:
    server = valkey.prepare(data)
    assert not any(server.password in word for word in server.spec().argv)
    assert server.config_file.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the kernel tells children of their parent's death on Linux only"
)
def test_a_killed_worker_takes_its_pool_along(tmp_path: Path) -> None:
    # No fixups: importing config named Django's settings, which this program has no use for.
    app = f"from celery import Celery\napp = Celery(broker={ensure_test_services().redis_url!r}, fixups=[])\n"
    (tmp_path / "tiny.py").write_text(app)
    ready = tmp_path / "ready"
    command = [
        "-A",
        "tiny",
        "worker",
        "-Q",
        f"tiny-{os.getpid()}",
        "--pool",
        "prefork",
        "--concurrency",
        "2",
        "--without-mingle",
    ]
    env = {**os.environ, READY_FILE: str(ready), "PYTHONPATH": f"{PROJECT}:{tmp_path}"}
    with (tmp_path / "log").open("wb") as log:
        argv = [sys.executable, "-m", "config.embedded.celery_child", *command]
        worker = subprocess.Popen(argv, env=env, cwd=tmp_path, stdout=log, stderr=log)
    assert _eventually(ready.exists), (tmp_path / "log").read_text()
    assert ready.read_text() == str(worker.pid)
    pool = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    assert len(pool) == 2
    worker.kill()
    worker.wait()
    assert _eventually(lambda: not any(leftovers.command_line(int(pid)) for pid in pool), within=3)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104  # nothing is bound
        ("::", "http://[::1]:80"),
        ("box", "http://box:80"),
    ],
)
def test_the_address_shown_is_one_that_a_browser_here_can_open(host: str, url: str) -> None:
    assert Address(host, 80).url == url


def test_a_one_off_step_that_is_given_up_ends(tmp_path: Path) -> None:
    child = Child(ChildSpec("step", ["sleep", "60"], tmp_path / "log", lambda _pid: True))
    child.end()
    assert child.returncode == -signal.SIGKILL
