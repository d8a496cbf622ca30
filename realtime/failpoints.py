"""Named points at which a process can be made to die, wait or fail, so that tests can see what becomes of its work.

    QUORUM_ALLOW_FAILPOINTS=true QUORUM_FAILPOINTS="council.finish.committed=kill;nudge.wake=sleep:0.5;council.tally=raise:2"

kills the process (SIGKILL) when it first comes to the one point, sleeps half a second each time at the next and raises at the second
hit of the third. ``kill`` and ``raise`` happen at one hit (``:n``, the first if left out), ``sleep:s`` at every one, or with
``sleep:s:n`` at the n-th. Hits are counted for each process.

Off, which is the default, ``failpoint`` is a function that returns: 30 to 60 ns. Whoever calls it imports the module, for what is
on is decided once, when the settings are read. Without ``QUORUM_ALLOW_FAILPOINTS`` a value is refused by a start-up check.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from django.conf import settings

# What stands around each point. A point after a commit is reached when the transaction is over and nothing later has happened.
REGISTRY: Mapping[str, str] = {
    "council.claim.locked": "turns are taken, their start is told; not committed",
    "council.claim.committed": "turns are taken; their worker has asked nobody yet",
    "council.open_calls.reserved": "calls are recorded and paid for in advance; not committed",
    "council.open_calls.committed": "calls are recorded; no model has been asked",
    "council.finish.stored": "results, ballots and charges are stored and what follows is opened; not committed",
    "council.finish.committed": "the same, committed; the worker holds the turns that follow, or has nudged for them",
    "council.fail_attempt.stored": "a failed attempt is given back or ended; not committed",
    "council.fail_attempt.committed": "the same, committed",
    "council.expire.stored": "a turn past its deadline has failed; not committed",
    "council.expire.committed": "the same, committed",
    "council.tally.claimed": "a count that asks a model has claimed its turn; nothing is stored",
    "council.tally.stored": "the count is stored and what follows is opened; not committed",
    "council.tally.committed": "the same, committed",
    "council.tally.at_once": "a count was made where its round ended; in the transaction of the last seat",
    "council.give_back.stored": "a lost worker's turn is pending again; not committed",
    "council.give_back.committed": "the same, committed",
    "council.conclude.decided": "the decision is stored and told; the run is open still, nothing is committed",
    "council.conclude.ended": "the run has ended; not committed",
    "nudge.send_task": "after a commit; the broker has not been told of a task",
    "nudge.sent_task": "the broker has been told of a task",
    "nudge.wake": "after a commit; watchers have not been woken",
    "nudge.woke": "watchers have been woken",
    "nudge.delta": "live text is about to be published",
    "nudge.published_delta": "live text is published",
    "knowledge.claim.leased": "entries are leased to the indexer; not committed",
    "knowledge.claim.committed": "entries are leased; nothing is embedded",
    "knowledge.finish.stored": "vectors and the state of their entries are stored; not committed",
    "knowledge.finish.committed": "the same, committed",
    "knowledge.import.claimed": "an import is leased to a worker, committed",
    "knowledge.import.written": "a batch of an import's entries is written; not committed",
    "knowledge.import.committed": "the same, committed",
    "knowledge.purge.deleted": "one step of a purge has deleted its rows; not committed",
    "knowledge.purge.committed": "the same, committed",
    "audit.seal.stored": "a batch of the audit log is sealed; not committed",
    "webhooks.fan_out.stored": "an endpoint's deliveries are stored and its cursor has gone on; not committed",
    "webhooks.sent": "a receiver has answered; nothing is stored of it",
    "accounts.export.member": "a file of an export is in the archive",
    "accounts.export.written": "the archive of an export is written; nothing is stored of it",
    "accounts.purge.step": "one step of deleting an account, in the apps above, is committed",
    "accounts.purge.own": "one step of deleting what accounts itself has is committed",
    "accounts.purge.erased": "what the audit log said of a person is erased; the account is there still",
}


class FailpointError(RuntimeError):
    """What ``raise`` raises."""


class Spec(NamedTuple):
    action: str  # kill, sleep or raise
    seconds: float = 0.0
    hit: int = 0  # 0: each


def parse(text: str) -> dict[str, Spec]:
    """Raises ``ValueError`` with one sentence."""
    return dict(_parse_one(part.strip()) for part in text.split(";") if part.strip())


def _parse_one(part: str) -> tuple[str, Spec]:
    name, _, rest = part.partition("=")
    if name not in REGISTRY:
        raise ValueError(f"{name!r} is no failpoint; docs/reliability.md lists them")
    action, *numbers = rest.split(":")
    try:
        if action == "sleep" and 1 <= len(numbers) <= 2:
            return name, Spec(action, float(numbers[0]), int(numbers[1]) if numbers[1:] else 0)
        if action in {"kill", "raise"} and len(numbers) <= 1:
            return name, Spec(action, hit=int(numbers[0]) if numbers else 1)
    except ValueError:
        pass
    raise ValueError(f"{part!r}: write name=kill, name=sleep:0.5 or name=raise, with :n for the n-th hit")


def _off(name: str) -> None:
    """Nothing is on."""


class _Armed:
    """The points that are on. Hits are counted under a lock: workers are threads."""

    def __init__(self, specs: Mapping[str, Spec]) -> None:
        self._specs, self._hits, self._lock = dict(specs), Counter[str](), threading.Lock()

    def __call__(self, name: str) -> None:
        spec = self._specs.get(name)
        if spec is None:
            return
        with self._lock:
            self._hits[name] += 1
            due = spec.hit in {0, self._hits[name]}
        if due:
            _ACTIONS[spec.action](name, spec)


def _kill(name: str, spec: Spec) -> None:
    os.write(2, f"failpoint {name}: kill\n".encode())  # not through sys.stderr: nothing is flushed after this
    os.kill(os.getpid(), signal.SIGKILL)


def _sleep(name: str, spec: Spec) -> None:
    time.sleep(spec.seconds)


def _raise(name: str, spec: Spec) -> None:
    raise FailpointError(f"failpoint {name}")


_ACTIONS: Mapping[str, Callable[[str, Spec], None]] = {"kill": _kill, "sleep": _sleep, "raise": _raise}


def refused(text: str, *, allowed: bool, https: bool) -> str:
    """Why these settings are not obeyed, in one sentence; "" when they are, or when there are none."""
    if not text:
        return ""
    if not allowed:
        return "a process is made to fail only where QUORUM_ALLOW_FAILPOINTS=true as well"
    if https:
        return "PUBLIC_URL is https, so this is no test; nothing is made to fail here"
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return ""


def armed(text: str, *, allowed: bool, https: bool) -> Callable[[str], None]:
    """What ``failpoint`` is for these settings. Where they are refused nothing is on, and a start-up check says why."""
    if not text or refused(text, allowed=allowed, https=https):
        return _off
    return _Armed(parse(text))


failpoint: Callable[[str], None] = armed(settings.FAILPOINTS, allowed=settings.ALLOW_FAILPOINTS, https=settings.HTTPS)
