"""What can go wrong while the embedded stack starts or runs.

EmbeddedError                 one line for the person at the terminal, exit status 1
├── DataDirError              the data directory is unusable
│   └── DataDirBusy           another process is serving it
├── PortTaken                 somebody else listens where we should
├── InstallError              a wheel lacks what we need, or its binary does not run on this machine
├── CommandFailed             a one-off step (initdb, migrate, bootstrap) returned non-zero
└── ServiceFailed             a child never became healthy
"""

from pathlib import Path


class EmbeddedError(Exception):
    """Its text is shown as it is, so it names the thing, the reason and what to do about it."""


class DataDirError(EmbeddedError):
    """The data directory cannot be created, entered or trusted."""


class DataDirBusy(DataDirError):
    """Another process holds the lock of this data directory."""


class PortTaken(EmbeddedError):
    """The web port is in use."""


class InstallError(EmbeddedError):
    """A bundled server is missing or cannot run here."""


class CommandFailed(EmbeddedError):
    """A step that runs once and must succeed did not."""


class ServiceFailed(EmbeddedError):
    """A supervised child never became healthy."""

    def __init__(self, name: str, reason: str, log: Path) -> None:
        super().__init__(f"{name} {reason}; see {log}")
        self.name = name
        self.log = log


def last_line(output: str) -> str:
    """What a failed program said last, which is where programs say why."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
