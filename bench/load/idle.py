"""How many idle sockets the web processes hold, and what each costs them in memory."""

from __future__ import annotations

import argparse
import asyncio
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection

from bench.load import clients
from bench.load.target import MIB, Address, processes, report, target, web_processes
from bench.plots import curves

PATIENCE_S = 120.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--most", type=int, default=10_000, help="the system's limit of open files counts, too")
    parser.add_argument("--step", type=int, default=500)
    web_processes(parser)


def run(options: argparse.Namespace) -> list[str]:
    with target(options.web) as stack:
        council = stack.draft("latency-100")
        ours, theirs = get_context("spawn").Pipe()
        measured = [(0, stack.web_memory())]
        holding = get_context("spawn").Process(target=hold, args=(stack.address, council, theirs), daemon=True)
        holding.start()
        while measured[-1][0] < options.most and _grown(ours, options.step):
            measured.append((measured[-1][0] + options.step, stack.web_memory()))
        holding.terminate()
        holding.join()
    if len(measured) < 2:
        return ["not even the first sockets were accepted"]
    steps = [(after[1] - before[1]) / options.step for before, after in pairwise(measured)]
    # The first step pays for what the process loads with its first socket.
    each = sum(steps[1:]) / len(steps[1:]) if len(steps) > 1 else steps[0]
    most = measured[-1][0]
    why = "as many as were asked for" if most >= options.most else "no more were accepted"
    sentence = (
        f"`python -m bench.load idle --web {options.web}`: {most} idle sockets in {processes(options.web)} ({why}); "
        f"**{each / 1024:.1f} KiB a socket**."
    )
    report(
        "idle" if options.web == 1 else f"idle-{options.web}",
        sentence,
        ["sockets", f"{processes(options.web)}, MiB"],
        [[str(n), f"{size / MIB:.0f}"] for n, size in measured],
        write=options.write,
    )
    if options.write and options.web == 1:
        curves(
            "load-idle", "Idle sockets", "sockets", "MiB", {"web process": [(n, size / MIB) for n, size in measured]}
        )
    return []


def _grown(pipe: Connection, step: int) -> bool:
    pipe.send(step)
    return bool(pipe.recv())


def hold(address: Address, council: str, pipe: Connection) -> None:
    """In a process of its own: open as many sockets as each message says, answer whether all stand, keep them."""
    asyncio.run(_hold(address, council, pipe))


async def _hold(address: Address, council: str, pipe: Connection) -> None:
    gate, tasks, crowd = asyncio.Semaphore(clients.AT_ONCE), [], []
    while True:
        wanted = await asyncio.to_thread(pipe.recv)
        new = [clients.Watching(address, council, None, gate) for _ in range(wanted)]
        crowd += new
        tasks += [asyncio.create_task(one.follow(to_the_end=False)) for one in new]
        try:
            async with asyncio.timeout(PATIENCE_S):
                await clients.ready(crowd)
        except TimeoutError:
            pipe.send(False)
        else:
            pipe.send(True)
