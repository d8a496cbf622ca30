"""Sockets on streaming councils, with reconnect storms: nothing missed, nothing twice, and how late events and live text come.

A storm cuts all sockets, or a random third of them, without a goodbye; each comes back with its ``last_seq``.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time

from bench.load import clients
from bench.load.target import SHARES, Address, processes, report, shares, target, web_processes

GRACE_S = 300.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--councils", type=int, default=50)
    parser.add_argument("--storms", type=int, default=20)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between storms")
    parser.add_argument("--pace", type=int, default=400, help="milliseconds between the tokens of a seat")
    parser.add_argument("--seed", type=int, default=1)
    web_processes(parser)


def run(options: argparse.Namespace) -> list[str]:
    with target(options.web) as stack:
        councils = [stack.draft(f"slow-{options.pace}") for _ in range(options.councils)]
        crowd = [councils[number % len(councils)] for number in range(options.sockets)]
        storms = (options.storms, options.every, options.seed)
        watching = clients.in_process_of_their_own(storm, stack.address, crowd, *storms)
        settle(options.sockets)
        for council in councils:
            stack.start(council)
        seen, struck = watching.result(timeout=GRACE_S + 3600)
    missing = [f"{options.sockets - seen.ended} sockets did not see the end"] if seen.ended < options.sockets else []
    rows = [
        ["event to socket", *shares(seen.events)],
        ["live text, publication to socket", *shares(seen.deltas)],
        ["resume, first try to having the head", *shares(seen.resumes)],
    ]
    sentence = (
        f"`python -m bench.load sockets --web {options.web}`: {options.sockets} sockets of {processes(options.web)} on {options.councils} "
        f"streaming councils, {struck} of {options.storms} storms, {seen.connections} connections, {seen.frames} "
        f"frames. **{len(seen.faults)} gaps, repetitions or changes of order; "
        f"{seen.ended} of {options.sockets} sockets saw every event to the end.**"
    )
    report(
        "sockets" if options.web == 1 else f"sockets-{options.web}",
        sentence,
        ["what", *SHARES],
        rows,
        write=options.write,
    )
    return seen.faults + missing


def settle(count: int) -> None:
    """Wait until so many sockets stand; what they cost to open is not what is measured."""
    time.sleep(2 + count / 100)


async def storm(
    address: Address, councils: list[str], storms: int, every: float, seed: int
) -> tuple[clients.Seen, int]:
    """What all sockets saw, and how many storms came while councils still ran."""
    dice, gate = random.Random(seed), asyncio.Semaphore(clients.AT_ONCE)
    published = clients.Published(address.redis_url)
    crowd = [clients.Watching(address, council, published, gate) for council in councils]
    following = asyncio.gather(*(one.follow() for one in crowd))
    await clients.ready(crowd)
    struck = 0
    while struck < storms and not following.done():
        await asyncio.sleep(every)
        hit = crowd if struck % 2 == 0 else dice.sample(crowd, len(crowd) // 3)
        struck += not following.done()
        for one in hit:
            one.cut()
    async with asyncio.timeout(GRACE_S):
        await following
    published.close()
    return clients.total(crowd), struck
