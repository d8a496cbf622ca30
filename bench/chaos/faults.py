"""What goes wrong, when and where: drawn from a seed beforehand, then done to the processes that ``up`` has written down.

The schedule (pauses, kinds, targets) depends on the seed and the options alone. Which process answers to a target is looked up when the
fault is due; one that is just being restarted cannot be struck again, and the fault is recorded as missed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg
import redis

T = TypeVar("T")
TARGETS: Mapping[str, tuple[str, ...]] = {
    "kill-worker": ("turns", "control", "index"),
    "kill-child": ("index",),  # the other workers' pools are threads
    "kill-beat": ("beat",),
    "kill-web": ("web",),
    "valkey-restart": ("valkey",),
    "flushall": ("valkey",),
    "pubsub-kill": ("valkey",),
    "pg-backend-kill": ("postgres",),
    "pg-restart": ("postgres",),
    "sigstop": ("web", "beat", "turns", "control", "index"),
}
KINDS = tuple(TARGETS)
BACKENDS = (
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY pid"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """``pause``: seconds after the one before it. ``draw``: in [0, 1), chooses among several processes of the target."""

    pause: float
    kind: str
    target: str
    draw: float


@dataclass(frozen=True, slots=True)
class Struck:
    """What was really done. ``at``: seconds since the epoch."""

    at: float
    fault: Fault
    pid: int | None  # None: the target was not there


def plan(seed: int, kinds: Sequence[str], every: tuple[float, float]) -> Iterator[Fault]:
    """Faults without end; every one takes as many draws, so that equal seeds give equal schedules. Kinds come in shuffled packs, so
    that a short run meets each of them."""
    dice = random.Random(seed)
    while True:
        for kind in dice.sample(list(kinds), len(kinds)):
            yield Fault(dice.uniform(*every), kind, dice.choice(TARGETS[kind]), dice.random())


class Stack:
    """The processes of one ``manage.py up``, found through its data directory."""

    def __init__(self, data: Path, freeze_s: float) -> None:
        self._file = data / "services.json"
        self._freeze_s = freeze_s
        self._frozen: list[tuple[float, int]] = []  # until when, which
        self.struck: list[Struck] = []
        known = json.loads(self._file.read_text())
        self.database_url, self.redis_url = str(known["database_url"]), str(known["redis_url"])

    def strike(self, fault: Fault) -> Struck:
        at = time.time()
        self.struck.append(Struck(at, fault, self._act(fault)))
        return self.struck[-1]

    def thaw(self, *, everything: bool = False) -> bool:
        """Let those go on whose time has come; True when nobody is frozen any more."""
        now = time.monotonic()
        due = [pid for until, pid in self._frozen if everything or until <= now]
        self._frozen = [(until, pid) for until, pid in self._frozen if pid not in due]
        for pid in due:
            if _state(pid) == "T":  # it may have been killed meanwhile, and its number be somebody else's
                os.kill(pid, signal.SIGCONT)
        return not self._frozen

    def _act(self, fault: Fault) -> int | None:
        acts: Mapping[str, Callable[[Fault], int | None]] = {
            "kill-child": self._kill_child,
            "valkey-restart": self._kill,
            "flushall": self._flush,
            "pubsub-kill": self._cut_pubsub,
            "pg-backend-kill": self._kill_backend,
            "pg-restart": self._stop_postgres,
            "sigstop": self._freeze,
        }
        try:
            return acts.get(fault.kind, self._kill)(fault)
        except (ProcessLookupError, redis.RedisError, psycopg.OperationalError):
            return None  # it is down from an earlier fault

    def _pid(self, target: str) -> int:
        """Raises ``ProcessLookupError`` when the target does not run: a stale number is never signalled."""
        pids = json.loads(self._file.read_text())["pids"]
        parent = pids.get("up" if target in {"postgres", "valkey"} else "apps")
        pid = pids.get(target)
        if pid is None or _parent(pid) != parent:
            raise ProcessLookupError(target)
        return int(pid)

    def _signal(self, pid: int, number: signal.Signals) -> int:
        os.kill(pid, number)
        return pid

    def _kill(self, fault: Fault) -> int:
        return self._signal(self._pid(fault.target), signal.SIGKILL)

    def _kill_child(self, fault: Fault) -> int | None:
        parent = self._pid(fault.target)
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return self._signal(int(_drawn(children, fault.draw)), signal.SIGKILL) if children else None

    def _stop_postgres(self, fault: Fault) -> int:
        """A "fast shutdown", as an operator's restart does; the supervisor starts it again."""
        return self._signal(self._pid(fault.target), signal.SIGINT)

    def _kill_backend(self, fault: Fault) -> int | None:
        """The postmaster then ends every other backend, too, and recovers."""
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=2) as connection:
            backends = [row[0] for row in connection.execute(BACKENDS).fetchall()]
        return self._signal(_drawn(backends, fault.draw), signal.SIGKILL) if backends else None

    def _freeze(self, fault: Fault) -> int | None:
        pid = self._pid(fault.target)
        if _state(pid) == "T":
            return None
        self._frozen.append((time.monotonic() + self._freeze_s, pid))
        return self._signal(pid, signal.SIGSTOP)

    def _flush(self, fault: Fault) -> int:
        self._valkey().flushall()
        return self._pid(fault.target)

    def _cut_pubsub(self, fault: Fault) -> int:
        self._valkey().client_kill_filter(_type="pubsub")
        return self._pid(fault.target)

    def _valkey(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url, socket_timeout=2, socket_connect_timeout=2)


def _drawn(among: Sequence[T], draw: float) -> T:
    return among[int(draw * len(among))]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: state, parent, …"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError as error:
        raise ProcessLookupError(pid) from error


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _state(pid: int) -> str:
    try:
        return _stat(pid)[0]
    except ProcessLookupError:
        return ""
