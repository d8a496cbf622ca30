"""Readers that stop reading among others that do not: what they cost the server, when it lets them go, and that they catch up."""

from __future__ import annotations

import argparse
import asyncio
import socket
import time
from concurrent.futures import Future
from multiprocessing import get_context
from multiprocessing.managers import SyncManager
from typing import Any

from bench.load import clients
from bench.load.target import MIB, SHARES, Address, Target, report, shares, target
from tests.support.ws_client import LiveClient

PATIENCE_S = 120.0
RECEIVE_BYTES = 4096  # a small window, so that the server, not the kernels, keeps what is not read


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stalled", type=int, default=200)
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--councils", type=int, default=10)
    parser.add_argument("--pace", type=int, default=100, help="milliseconds between the tokens of a seat")


def run(options: argparse.Namespace) -> list[str]:
    with target() as stack, get_context("spawn").Manager() as manager:
        councils = [stack.draft(f"slow-{options.pace}") for _ in range(options.councils)]
        told = manager.dict()
        reading = [councils[number % len(councils)] for number in range(options.readers)]
        stalling = [councils[number % len(councils)] for number in range(options.stalled)]
        watching = clients.in_process_of_their_own(both, stack.address, reading, stalling, told)
        _wait_for(told, "ready", watching)
        before = stack.web_memory()
        for council in councils:
            stack.start(council)
        _wait_for(told, "ports", watching)
        released, most = _released(stack, set(told["ports"]), before)
        told["released"] = True
        seen, caught_up = watching.result(timeout=600)
    late = [f"{options.stalled - len(released)} stalled readers were still held after {PATIENCE_S:g} s"]
    faults = [*seen.faults, *(late if len(released) < options.stalled else [])]
    faults += (
        []
        if caught_up == options.stalled
        else [f"{options.stalled - caught_up} stalled readers were not complete after their return"]
    )
    longest = f"{max(released):.1f} s" if released else "never"
    grown = (most - before) / MIB
    sentence = (
        f"`python -m bench.load stalled`: {options.stalled} readers that stop reading beside {options.readers} that go on, "
        f"{options.councils} councils. The web process grew by **{grown:.0f} MiB** at most; {len(released)} stalled were let go, the last "
        f"after **{longest}**; {caught_up} were complete after their return. {len(seen.faults)} faults among the others, with times of:"
    )
    rows = [["event to socket", *shares(seen.events)], ["live text", *shares(seen.deltas)]]
    report("stalled", sentence, ["what", *SHARES], rows, write=options.write)
    return faults


def _wait_for(told: Any, what: str, working: Future[Any]) -> None:
    while what not in told:
        if working.done():
            working.result()
        time.sleep(0.05)


def _released(stack: Target, ports: set[int], before: int) -> tuple[list[float], int]:
    """Seconds until the server gave up each of the connections, and the largest size of its process meanwhile."""
    began, held, released, most = time.monotonic(), set(ports), [], before
    while held and time.monotonic() < began + PATIENCE_S:
        time.sleep(0.1)
        most = max(most, stack.web_memory())
        gone = held - stack.connected_ports()
        released += [time.monotonic() - began] * len(gone)
        held -= gone
    return released, most


async def both(
    address: Address, reading: list[str], stalling: list[str], told: SyncManager
) -> tuple[clients.Seen, int]:
    gate, published = asyncio.Semaphore(clients.AT_ONCE), clients.Published(address.redis_url)
    readers = [clients.Watching(address, council, published, gate) for council in reading]
    following = asyncio.gather(*(one.follow() for one in readers))
    stalled = [
        LiveClient(address.socket(council), key=address.key, last_seq=0, sock=_small(address)) for council in stalling
    ]
    for one in stalled:
        await one.connect()
    await clients.ready(readers)
    shared: Any = told
    ports = [one.socket.local_address[1] for one in stalled if one.socket is not None]
    for one in stalled:
        assert one.socket is not None
        one.socket.transport.pause_reading()
    shared["ready"] = True
    shared["ports"] = ports
    await asyncio.to_thread(_wait_until_released, shared)
    caught_up = sum(await asyncio.gather(*(_return(address, one, gate) for one in stalled)))
    await following
    published.close()
    return clients.total(readers), caught_up


def _wait_until_released(told: Any) -> None:
    while "released" not in told:
        time.sleep(0.2)


def _small(address: Address) -> socket.socket:
    host, _, port = address.url.removeprefix("http://").rpartition(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    made.connect((host, int(port)))
    made.setblocking(False)
    return made


async def _return(address: Address, stalled: LiveClient, gate: asyncio.Semaphore) -> bool:
    """Come back with the last event that was read; True when every event up to the council's end follows."""
    stalled.cut()
    again = clients.Watching(address, stalled.url.rpartition("/")[2], None, gate)
    again.live.last_seq = stalled.last_seq
    async with asyncio.timeout(300):
        await again.follow()
    return not again.seen.faults and again.seen.ended == 1
