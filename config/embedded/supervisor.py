"""Keep children alive, and end them in order.

A child that has once been healthy is restarted for ever, with a growing pause; one that never becomes healthy ends
the whole stack, because no amount of restarting mends a bad setting. One that gives no sign of life any more is
killed, and restarted like any other that died. Everything happens in the thread that calls,
which must be the main thread (see `exec_child`).
"""

import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from types import FrameType

from config.embedded.errors import ServiceFailed
from config.embedded.liveness import Silence
from config.embedded.process import Child, ChildSpec

TICK_S = 0.05
PROBE_INTERVAL_S = 0.1


def stop_flag() -> Callable[[], bool]:
    """Take over SIGINT, SIGTERM and SIGHUP (a closed terminal); the result says whether one has come."""
    requested = threading.Event()

    def request(_number: int, _frame: FrameType | None) -> None:
        requested.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup has the hang-up ignored, and means it.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, request)
    return requested.is_set


@dataclass(frozen=True)
class RestartPolicy:
    """Seconds, except `max_early_deaths`: deaths before the first sign of health that we put up with."""

    first_pause: float = 0.5
    longest_pause: float = 10.0
    settled_after: float = (
        5.0  # longer than a life that fails at once; a server that was ended four times in a minute is not broken
    )
    start_timeout: float = 60.0
    max_early_deaths: int = 3
    longest_silence: float = 10.0  # five beats that were missed


@dataclass
class _Watched:
    spec: ChildSpec
    child: Child | None = None
    ever_healthy: bool = False
    healthy: bool = False
    deaths: int = 0
    restart_at: float = 0.0
    next_probe_at: float = 0.0
    silence: Silence | None = None
    first_started_at: float = field(default_factory=time.monotonic)


def _silent(_line: str) -> None:
    return


class Supervisor:
    def __init__(
        self,
        policy: RestartPolicy | None = None,
        *,
        say: Callable[[str], None] = _silent,
        pids_changed: Callable[[dict[str, int]], None] | None = None,
    ) -> None:
        """`say` gets one line when a child dies or returns; `pids_changed` gets name → pid after every start and death."""
        self._policy = policy or RestartPolicy()
        self._watched: dict[str, _Watched] = {}
        self._say = say
        self._pids_changed = pids_changed

    def pids(self) -> dict[str, int]:
        return {name: w.child.pid for name, w in self._watched.items() if w.child is not None}

    def start(self, *specs: ChildSpec) -> None:
        """Start the children side by side, without waiting for them."""
        for spec in specs:
            self._watched[spec.name] = _Watched(spec, Child(spec))
        self._announce_pids()

    def wait_healthy(
        self, should_stop: Callable[[], bool] = lambda: False, only: Collection[str] | None = None
    ) -> bool:
        """Block until every child, or those in `only`, has been healthy once; False when told to stop meanwhile.

        Raises ServiceFailed for a child that keeps dying or is silent for `start_timeout` seconds.
        """
        awaited = [w for name, w in self._watched.items() if only is None or name in only]
        while not all(w.ever_healthy for w in awaited):
            if should_stop():
                return False
            self.step()
            time.sleep(TICK_S)
        return True

    def run(self, should_stop: Callable[[], bool]) -> None:
        while not should_stop():
            self.step()
            time.sleep(TICK_S)

    def step(self) -> None:
        """Look once at every child: bury the dead, start those whose pause is over, ask the new ones for their health."""
        for watched in self._watched.values():
            if watched.child is None:
                self._restart_if_due(watched)
            elif watched.child.has_ended():
                self._bury(watched, watched.child)
            elif not watched.healthy:
                self._probe(watched, watched.child)
            elif watched.silence is not None:
                self._listen(watched.spec.name, watched.silence, watched.child)

    def stop(self, groups: Sequence[Iterable[str]]) -> None:
        """End the named children group after group; each group is signalled in the order given and waited for together."""
        for group in groups:
            self._stop_group([self._watched[name] for name in group if name in self._watched])
        self._stop_group(list(self._watched.values()))

    def _restart_if_due(self, watched: _Watched) -> None:
        if time.monotonic() < watched.restart_at:
            return
        watched.child = Child(watched.spec)
        self._announce_pids()

    def _bury(self, watched: _Watched, child: Child) -> None:
        if time.monotonic() - child.started_at > self._policy.settled_after:
            watched.deaths = 0
        watched.deaths += 1
        watched.child, watched.healthy = None, False
        patience = watched.spec.max_early_deaths or self._policy.max_early_deaths
        if not watched.ever_healthy and watched.deaths >= patience:
            raise ServiceFailed(watched.spec.name, f"died at start ({child.exit_status})", watched.spec.log)
        pause = min(self._policy.first_pause * 2 ** (watched.deaths - 1), self._policy.longest_pause)
        watched.restart_at = time.monotonic() + pause
        self._say(f"{watched.spec.name} ended with {child.exit_status}; starting it again in {pause:g} s")
        self._announce_pids()

    def _probe(self, watched: _Watched, child: Child) -> None:
        now = time.monotonic()
        if now < watched.next_probe_at:
            return
        watched.next_probe_at = now + PROBE_INTERVAL_S
        if watched.spec.healthy(child.pid):
            if watched.ever_healthy:
                self._say(f"{watched.spec.name} is back")
            watched.healthy = watched.ever_healthy = True
            if watched.spec.sign_of_life is not None:
                watched.silence = Silence(watched.spec.sign_of_life)
            return
        patience = watched.spec.start_timeout or self._policy.start_timeout
        if watched.ever_healthy and now - child.started_at > patience:
            self._say(f"{watched.spec.name} was not back within {patience:g} s; it is killed")
            child.end()
        elif not watched.ever_healthy and now - watched.first_started_at > patience:
            reason = f"was not ready within {patience:g} s"
            raise ServiceFailed(watched.spec.name, reason, watched.spec.log)

    def _listen(self, name: str, silence: Silence, child: Child) -> None:
        if silence.measure() > self._policy.longest_silence:
            self._say(f"{name} has given no sign of life for {self._policy.longest_silence:g} s; it is killed")
            child.end()  # the next step finds it dead

    def _stop_group(self, group: list[_Watched]) -> None:
        alive = [w.child for w in group if w.child is not None]
        rounds = max((len(child.spec.stop_signals) for child in alive), default=0)
        for turn in range(rounds):
            for child in alive:
                if turn < len(child.spec.stop_signals):
                    child.send(child.spec.stop_signals[turn])
            _wait_for(alive)
        for child in alive:
            child.end()
        for watched in group:
            self._watched.pop(watched.spec.name, None)
        self._announce_pids()

    def _announce_pids(self) -> None:
        if self._pids_changed is not None:
            self._pids_changed(self.pids())


def _wait_for(children: list[Child]) -> None:
    """Wait until all have ended, each at most for its own grace."""
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        if not any(waited < child.spec.stop_grace and not child.has_ended() for child in children):
            return
        time.sleep(TICK_S)
