"""The data directory: where everything that must survive a restart, and everything secret, is kept.

D/lock               held (flock) by the one process that serves D
D/services.json      where the running services are (0600); exists only while they run
D/credentials.json   the first admin and API key (0600), written by `manage.py bootstrap`
D/secrets.json       generated passwords of the embedded servers (0600)
D/run/               process ids and signs of readiness of what runs now
D/logs/NAME.log      output of each child
"""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.embedded.errors import DataDirBusy, DataDirError
from config.embedded.network import free_port


@dataclass(frozen=True)
class ServiceUrls:
    """Where the services answer. An empty string means that nobody serves it."""

    database_url: str
    redis_url: str
    llm_base_url: str = ""
    llm_model: str = ""

    def as_env(self) -> dict[str, str]:
        named = {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "LLM_BASE_URL": self.llm_base_url,
            "LLM_MODEL": self.llm_model,
        }
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True)
class DataDir:
    root: Path
    logs: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.root.expanduser().resolve())
        object.__setattr__(self, "logs", self.root / "logs")

    @property
    def services_file(self) -> Path:
        return self.root / "services.json"

    @property
    def credentials_file(self) -> Path:
        return self.root / "credentials.json"

    @property
    def app_pids_file(self) -> Path:
        return self.root / "run" / "pids.json"

    def ready_file(self, child: str) -> Path:
        """Where a child writes its process id once it works."""
        return self.root / "run" / f"{child}.ready"

    def create(self) -> None:
        """Make the directory. Others may pass through (0711) but not list: a server that root runs as another user lives below."""
        try:
            if not self.root.exists():
                self.root.mkdir(parents=True)
                self.root.chmod(0o711)
            self.logs.mkdir(mode=0o700, exist_ok=True)
            self.app_pids_file.parent.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DataDirError(f"Cannot use the data directory {self.root}: {error.strerror}") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process. The kernel drops the lock with us, so none is ever stale."""
        with (self.root / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                raise DataDirBusy(
                    f"Another process (pid {lock.read().strip() or '?'}) is serving {self.root}; "
                    "stop it first or choose another --data-dir"
                ) from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def is_served(self) -> bool:
        """Whether a living process holds the directory."""
        try:
            with (self.root / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def write_services(self, urls: ServiceUrls, pids: Mapping[str, int]) -> None:
        """Tell other management commands, which read this when their environment names no service."""
        known = {
            "database_url": urls.database_url,
            "redis_url": urls.redis_url,
            "llm_base_url": urls.llm_base_url,
            "llm_model": urls.llm_model,
        }
        write_private_json(self.services_file, {**known, "pids": dict(pids)})

    def forget_services(self) -> None:
        self.services_file.unlink(missing_ok=True)

    def secret(self, name: str) -> str:
        """The generated password called `name`; the same one every time."""
        path = self.root / "secrets.json"
        known = read_json(path)
        if name not in known:
            known[name] = secrets.token_urlsafe(24)
            write_private_json(path, known)
        return str(known[name])

    def port(self, server: str) -> int:
        """A free port for an embedded server: the one it had last time if possible, so that copied URLs keep working."""
        path = self.root / "ports.json"
        known = read_json(path)
        port = free_port(known.get(server))
        if port != known.get(server):
            write_private_json(path, {**known, server: port})
        return port


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`, or an empty one when there is no such file."""
    try:
        loaded = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataDirError(f"{path} is not valid JSON; remove it or restore it from a backup") from error
    if not isinstance(loaded, dict):
        raise DataDirError(f"{path} does not hold a JSON object")
    return loaded


def write_private_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace `path` in one step; it is never readable by others, not even for a moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(content, stream, indent=2)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
