"""How soon a stop reaches the model: from the request to the closed connection, as the model's server saw it."""

from __future__ import annotations

import argparse
import time

from bench.load.target import SHARES, Target, report, shares, target

PATIENCE_S = 30.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stops", type=int, default=200)


def run(options: argparse.Namespace) -> list[str]:
    times: list[float] = []
    faults: list[str] = []
    ends: dict[str, int] = {}
    with target() as stack:
        for number in range(options.stops):
            council, took = _stopped(stack, f"slow-50-stop-x{number}x")
            ends[council] = stack.heads()[council]
            times += took
            faults += [] if len(took) == SEATS else [f"{council}: {SEATS - len(took)} calls were not closed"]
        time.sleep(2)
        heads = stack.heads()
    faults += [
        f"{council}: {heads[council] - end} events after its stop"
        for council, end in ends.items()
        if heads[council] != end
    ]
    sentence = (
        f"`python -m bench.load stop`: {options.stops} councils of {SEATS} seats stopped while all seats were streaming. "
        f"**{len(faults)} calls left open or events stored later.**"
    )
    report(
        "stop",
        sentence,
        ["what", *SHARES],
        [["POST stop to closed upstream connection", *shares(times)]],
        write=options.write,
    )
    return faults


SEATS = 3


def _stopped(stack: Target, model: str) -> tuple[str, list[float]]:
    """Stop one council in mid-stream; seconds from the request until each of its calls was closed."""
    council = stack.draft(model, SEATS)
    stack.start(council)
    _until(lambda: sum(one["tokens_sent"] > 3 for one in _calls(stack, model)) == SEATS)
    asked = time.time()
    stack.client.call("POST", f"/api/council-sessions/{council}/stop")
    _until(lambda: all(one["disconnected_at"] for one in _calls(stack, model)))
    return council, [one["disconnected_at"] - asked for one in _calls(stack, model) if one["disconnected_at"]]


def _calls(stack: Target, model: str) -> list[dict[str, float]]:
    return [one for one in stack.model_requests() if one["model"].endswith(f"-{model}")]


def _until(condition: object) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < until:  # type: ignore[operator]
        time.sleep(0.05)
