"""What Quorum adds to the models' own time: four seats, 200 ms a call, opening → ballot → synthesis.

    python -m bench.stages [--runs 11] [--latency 200] [--pack] [--write]

Times are the server's own, from ``session.started`` to ``session.completed`` in the event log, everything between included:
queues, claims, searches, counts, commits with durability on. ``--write`` puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import time
from datetime import datetime
from statistics import median
from typing import Any

from bench.report import publish, table
from bench.stack import quorum
from config.terminal import Client

STAGES = 3
SEATS = 4
ENDS = {"session.completed", "session.failed"}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--latency", type=int, default=200, help="milliseconds that each model call takes")
    parser.add_argument("--pack", action="store_true", help="let every seat search a pack of 50 entries")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with quorum() as client:
        packs = [_pack(client)] if options.pack else []
        _council(client, options.latency, packs)  # warm: connections, imports, prepared statements
        runs = [_council(client, options.latency, packs) for _ in range(options.runs)]
    publish("stages-pack" if options.pack else "stages", _table(runs, options.latency), write=options.write)


def _pack(client: Client) -> str:
    pack = client.call("POST", "/api/knowledge-packs", {"name": "bench"})["id"]
    for number in range(50):
        body = {"title": f"Entry {number}", "content": f"Tabs and spaces, argument {number}. " * 40}
        client.call("POST", f"/api/knowledge-packs/{pack}/entries", body)
    while client.call("GET", f"/api/knowledge-packs/{pack}/entries?status=pending&limit=1")["results"]:
        time.sleep(0.5)
    return str(pack)


def _council(client: Client, latency: int, packs: list[str]) -> list[dict[str, Any]]:
    models = [f"fake-option-{number % 3 + 1}-latency-{latency}" for number in range(SEATS)]
    agents: list[dict[str, Any]] = [{"name": f"Seat {n}", "model": model} for n, model in enumerate(models, 1)]
    agents.append({"name": "Chair", "model": f"fake-latency-{latency}", "chair": True})
    body = {"question": "Tabs or spaces?", "options": ["Tabs", "Spaces", "Both"], "agents": agents, "packs": packs}
    session = client.call("POST", "/api/council-sessions", body)["id"]
    client.call("POST", f"/api/council-sessions/{session}/start")
    while True:
        time.sleep(1)  # reading the log is work for the same two cores
        events: list[dict[str, Any]] = client.call("GET", f"/api/council-sessions/{session}/events")["results"]
        if events[-1]["type"] in ENDS:
            assert events[-1]["type"] == "session.completed", events[-1]
            return events


def _at(events: list[dict[str, Any]], kind: str) -> float:
    return datetime.fromisoformat(next(event["at"] for event in events if event["type"] == kind)).timestamp()


def _stages(events: list[dict[str, Any]]) -> dict[str, float]:
    """Milliseconds from a round's start to its close, by stage."""
    opened = {e["data"]["stage"]: datetime.fromisoformat(e["at"]) for e in events if e["type"] == "round.started"}
    closed = {e["data"]["stage"]: datetime.fromisoformat(e["at"]) for e in events if e["type"] == "round.closed"}
    return {stage: (closed[stage] - opened[stage]).total_seconds() * 1000 for stage in opened}


def _table(runs: list[list[dict[str, Any]]], latency: int) -> str:
    totals = [(_at(events, "session.completed") - _at(events, "session.started")) * 1000 for events in runs]
    stages = [_stages(events) for events in runs]
    named = [(stage, [one[stage] for one in stages]) for stage in stages[0]]
    named.append((f"whole council ({SEATS} seats, {latency} ms a call)", totals))
    named.append(("**overhead per stage beyond the model**", [(total - STAGES * latency) / STAGES for total in totals]))
    rows = [(name, *(f"{value:.0f}" for value in (median(times), min(times), max(times)))) for name, times in named]
    return table(["what", "median ms", "min", "max"], rows)


if __name__ == "__main__":
    main()
