"""How many sockets the web processes serve with streaming councils before live text comes late."""

from __future__ import annotations

import argparse
import sys
from statistics import quantiles

from bench.load import clients, sockets
from bench.load.target import MIB, SHARES, Target, processes, report, shares, target, web_processes

LATE_S = 0.25  # of the slowest hundredth


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--most", type=int, default=6000)
    parser.add_argument("--step", type=int, default=1000)
    parser.add_argument("--councils", type=int, default=50)
    parser.add_argument("--pace", type=int, default=400, help="milliseconds between the tokens of a seat")
    web_processes(parser)


def run(options: argparse.Namespace) -> list[str]:
    rows: list[list[str]] = []
    faults: list[str] = []
    held = 0
    with target(options.web) as stack:
        for count in range(options.step, options.most + 1, options.step):
            seen = _watched(stack, count, options)
            faults += seen.faults
            memory = f"{stack.web_memory() / MIB:.0f}"
            print(f"{count} sockets: {shares(seen.deltas)[3]} ms", file=sys.stderr)  # minutes pass between two
            rows.append([str(count), *shares(seen.deltas), memory])
            if seen.faults or _slow(seen.deltas):
                break
            held = count
    sentence = (
        f"`python -m bench.load active --web {options.web}`: {processes(options.web)}, {options.councils} councils whose seats write a "
        f"token every {options.pace} ms; live text, from publication to socket. **{held} sockets with a 99th percentile below "
        f"{1000 * LATE_S:.0f} ms.**"
    )
    head = ["sockets", *SHARES, "web, MiB"]
    report("active" if options.web == 1 else f"active-{options.web}", sentence, head, rows, write=options.write)
    return faults


def _watched(stack: Target, count: int, options: argparse.Namespace) -> clients.Seen:
    """The same councils' worth of text for every number of sockets, nobody being cut off."""
    councils = [stack.draft(f"slow-{options.pace}") for _ in range(options.councils)]
    crowd = [councils[number % len(councils)] for number in range(count)]
    watching = clients.in_process_of_their_own(sockets.storm, stack.address, crowd, 0, 0.0, 1)
    sockets.settle(count)
    for council in councils:
        stack.start(council)
    seen, _ = watching.result(timeout=sockets.GRACE_S + 3600)
    return seen


def _slow(times: list[float]) -> bool:
    return len(times) < 2 or quantiles(times, n=100, method="inclusive")[98] > LATE_S
