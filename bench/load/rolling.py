"""Every process of the stack restarted one after the other (``manage.py restart``), while a crowd watches and programs hold councils."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence

from bench.load import clients, sockets
from bench.load.target import SHARES, Address, Target, processes, report, shares, target, web_processes
from bench.stack import ROOT
from tests.support.clients import PATIENCE_S, Client

# As nothing must be when all councils are over.
_LOST = """
    SELECT 'a turn is ' || status || ' ' || error || ' after ' || attempt || ' attempts: ' || error_detail
    FROM council_turn WHERE status NOT IN ('completed', 'cancelled')
    UNION ALL SELECT 'a call is ' || status FROM council_llmcall WHERE status IN ('running', 'lost')
    UNION ALL SELECT 'a council is ' || status || ' ' || reason FROM council_councilsession WHERE status <> 'completed'
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--councils", type=int, default=25)
    parser.add_argument("--programs", type=int, default=6)
    parser.add_argument("--restarts", type=int, default=2, help="of all five kinds of processes")
    parser.add_argument("--pace", type=int, default=400, help="milliseconds between the tokens of a seat")
    web_processes(parser)


def run(options: argparse.Namespace) -> list[str]:
    with target(options.web) as stack:
        councils = [stack.draft(f"slow-{options.pace}") for _ in range(options.councils)]
        crowd = [councils[number % len(councils)] for number in range(options.sockets)]
        watching = clients.in_process_of_their_own(follow, stack.address, crowd)
        sockets.settle(options.sockets)
        for council in councils:
            stack.start(council)
        programs, took = _restart_beside_programs(stack, options)
        seen = watching.result(timeout=sockets.GRACE_S + 3600)
        with stack.database() as connection:
            lost = [str(row[0]) for row in connection.execute(_LOST)]
    faults = seen.faults + [fault for one in programs for fault in one.faults] + lost
    if seen.ended < options.sockets:
        faults.append(f"{options.sockets - seen.ended} sockets did not see the end")
    _report(options, seen, programs, took, len(faults))
    return faults


def _restart_beside_programs(stack: Target, options: argparse.Namespace) -> tuple[list[Client], list[str]]:
    """The programs, which have finished, and what the restarts said."""
    ending = threading.Event()
    programs = [Client(stack.client.url, stack.client.key, ending) for _ in range(options.programs)]
    for one in programs:
        one.start()
    env = {**os.environ, "QUORUM_DATA_DIR": str(stack.data)}
    said: list[str] = []
    for _ in range(options.restarts):
        command = [sys.executable, "manage.py", "restart"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        said += done.stdout.splitlines()
    ending.set()
    for one in programs:
        one.join(2 * PATIENCE_S)
    return programs, said


async def follow(address: Address, councils: list[str]) -> clients.Seen:
    seen, _ = await sockets.storm(address, councils, storms=0, every=0.0, seed=1)
    return seen


def _report(
    options: argparse.Namespace, seen: clients.Seen, programs: Sequence[Client], took: Sequence[str], faults: int
) -> None:
    repeated = sum((one.repeated for one in programs), Counter[str]())
    again = ", ".join(f"{count} for {why}" for why, count in repeated.items()) or "none"
    sentence = (
        f"`python -m bench.load rolling --web {options.web}`: {processes(options.web)}, {options.sockets} sockets on {options.councils} "
        f"streaming councils, {len(programs)} programs that held {sum(len(one.sessions) for one in programs)} councils with "
        f"{sum(one.answered for one in programs)} requests, {len(took)} restarts. **{faults} faults; requests sent again: {again}; "
        f"{seen.connections - options.sockets} sockets resumed.**"
    )
    rows = [["event to socket", *shares(seen.events)], ["resume, first try to having the head", *shares(seen.resumes)]]
    report(
        "rolling" if options.web == 1 else f"rolling-{options.web}",
        sentence,
        ["what", *SHARES],
        rows,
        write=options.write,
    )
