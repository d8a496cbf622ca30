"""Councils through the whole stack while something breaks every few seconds; then every promise is checked in the database.

    python -m bench.chaos [--seed 1] [--councils 200 | --minutes M] [--faults kill-worker,sigstop,…] [--every 2-5] [--write]

Exits 1 with a line for each violation. The same seed gives the same schedule of pauses, faults and targets (``faults.plan``).
A fault waits for a council to strike. Faults go on until the last council has ended, at most ``FAULTS_S`` after the last was started.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

from bench.chaos import checks, faults, recovery
from bench.chaos.flow import SEATS, Database, Flow
from bench.chaos.watchers import Watchers
from bench.report import DOCS, publish, table
from bench.stack import ROOT, quorum_in_folder
from config.terminal import Client

TICK_S = 0.2
FAULTS_S = 300.0
END_S = 180.0  # after the last fault, everything has ended ...
QUIET_S = 120.0  # ... and calls of dead workers have been charged (after 60 s)
TURNS = "SELECT count(*), count(*) FILTER (WHERE attempt > 1), coalesce(sum(attempt - 1) FILTER (WHERE attempt > 1), 0) FROM council_turn"


def main() -> int:
    options = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what we started ends with us
    schedule = faults.plan(options.seed, options.faults, options.every)
    if options.schedule:
        for fault in islice(schedule, options.schedule):
            print(f"{fault.pause:.2f} s  {fault.kind} {fault.target} {fault.draw:.3f}")
        return 0
    with quorum_in_folder() as (client, data):
        run = Run(options, client, faults.Stack(data, options.freeze))
        run.through(schedule)
        found = run.violations()
        if found:
            kept = ROOT / "var" / f"chaos-{options.seed}"
            shutil.copytree(data / "logs", kept, dirs_exist_ok=True)
            print(f"logs: {kept}", file=sys.stderr)
        publish(f"chaos-{options.seed}", run.report(found), write=options.write, page=DOCS / "reliability.md")
    print(*found, sep="\n", file=sys.stderr)
    return 1 if found else 0


class Run:
    def __init__(self, options: argparse.Namespace, client: Client, stack: faults.Stack) -> None:
        self.options, self.stack = options, stack
        self.database = Database(stack.database_url)
        self.flow = Flow(client, self.database, options.concurrent, options.latency, _enough(options))
        self.watchers = Watchers(client.url, client.key, options.watchers, lambda: set(self.flow.running), options.seed)
        self.began = time.monotonic()
        self.took = 0.0

    def through(self, schedule: Iterator[faults.Fault]) -> None:
        """Until every council has ended, or ``END_S`` after the faults have."""
        fault = next(schedule)
        due, last_start = time.monotonic() + fault.pause, time.monotonic()
        ended = False
        while not ended and time.monotonic() < last_start + FAULTS_S + END_S:
            time.sleep(TICK_S)
            before = len(self.flow.sessions)
            ended = self.flow.step()
            last_start = time.monotonic() if len(self.flow.sessions) > before else last_start
            self.stack.thaw()
            if self.flow.running and time.monotonic() >= due and time.monotonic() < last_start + FAULTS_S:
                self._strike(fault)
                fault = next(schedule)
                due = time.monotonic() + fault.pause
        self.took = time.monotonic() - self.began
        self._calm()

    def _strike(self, fault: faults.Fault) -> None:
        struck = self.stack.strike(fault)
        what = f"{fault.kind} {fault.target}" if struck.pid else f"{fault.kind} {fault.target} (not there)"
        done = len(self.flow.sessions) - len(self.flow.running)
        print(
            f"{time.monotonic() - self.began:6.1f} s  {what}; {done} ended, {len(self.flow.running)} running",
            file=sys.stderr,
        )

    def _calm(self) -> None:
        """Everybody runs again, watchers see the end, and nothing is owed."""
        self.stack.thaw(everything=True)
        self.watchers.close()
        self.flow.close()
        until = time.monotonic() + QUIET_S
        while checks.unsettled(self.database) and time.monotonic() < until:
            time.sleep(1)

    def violations(self) -> list[str]:
        found = [*self.flow.failures, *self.watchers.failures]
        return found + checks.violations(self.database, self.stack.database_url, dict(self.watchers.seen))

    def report(self, found: list[str]) -> str:
        times = recovery.recoveries(self.stack.struck, recovery.courses(self.database))
        struck = Counter(one.fault.kind for one in self.stack.struck if one.pid is not None)
        rows = [[kind, str(struck[kind]), *recovery.summary(times.get(kind, []))] for kind in self.options.faults]
        everything = [seconds for kind in times.values() for seconds in kind]
        rows.append(["**all**", str(sum(struck.values())), *recovery.summary(everything)])
        head = ["fault", "times", "councils that were running", "recovery p50 s", "p99 s", "longest s"]
        return f"{self._sentence(found)}\n\n{table(head, rows)}"

    def _sentence(self, found: list[str]) -> str:
        turns, again, attempts = self.database.rows(TURNS)[0]
        options, missed = self.options, sum(one.pid is None for one in self.stack.struck)
        low, high = options.every
        return (
            f"`python -m bench.chaos --seed {options.seed}`: {len(self.flow.sessions)} councils of {SEATS} seats and 3 stages, "
            f"{options.concurrent} at once, {options.latency} ms a call, a fault every {low:g} to {high:g} s ({missed} more found their "
            f"target down); {self.took / 60:.1f} minutes. **{len(found)} violations.** Of {turns} turns {again} were asked again "
            f"({attempts} times in all). {sum(self.flow.repeated.values())} requests were repeated under their Idempotency-Key; "
            f"{options.watchers} watchers followed {len(self.watchers.seen)} councils to their end over {self.watchers.connections} "
            "connections."
        )


def _enough(options: argparse.Namespace) -> Callable[[int], bool]:
    if options.minutes is None:
        return lambda asked: asked >= options.councils
    until = time.monotonic() + 60 * options.minutes
    return lambda _asked: time.monotonic() >= until


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--councils", type=int, default=200)
    parser.add_argument("--minutes", type=float, help="instead of a number of councils")
    parser.add_argument("--concurrent", type=int, default=24)
    parser.add_argument("--latency", type=int, default=4000, help="milliseconds that each model call takes")
    parser.add_argument("--watchers", type=int, default=2)
    parser.add_argument("--faults", type=_kinds, default=list(faults.KINDS), help=",".join(faults.KINDS))
    parser.add_argument("--every", type=_range, default=(2.0, 5.0), help="seconds between faults: LOW-HIGH")
    parser.add_argument("--freeze", type=float, default=60.0, help="seconds that sigstop lasts")
    parser.add_argument("--schedule", type=int, metavar="N", help="only print the first N faults")
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    return parser.parse_args()


def _kinds(text: str) -> list[str]:
    kinds = text.split(",")
    if unknown := set(kinds) - set(faults.KINDS):
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(sorted(unknown))}")
    return kinds


def _range(text: str) -> tuple[float, float]:
    low, _, high = text.partition("-")
    return float(low), float(high or low)


if __name__ == "__main__":
    sys.exit(main())
