"""What watchers of one council cost the database: statements for each event, counted in the server's own log."""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

from bench.load import idle
from bench.load.target import Target, report, target
from bench.plots import curves

SETTLE_S = 3.0
COUNTED = {
    "reads of the log and of heads": re.compile(r'(SELECT|FROM).*"council_sessionevent"|SELECT.*"last_seq"'),
    "access, checked once a minute for each": re.compile(
        r'FROM "accounts_|SELECT 1 AS "a" FROM "council_councilsession"'
    ),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watchers", type=lambda text: [int(one) for one in text.split(",")], default=[1, 10, 100, 1000]
    )
    parser.add_argument("--latency", type=int, default=1000)


def run(options: argparse.Namespace) -> list[str]:
    rows, points = [], []
    with target() as stack:
        with stack.database() as connection:
            connection.execute("ALTER SYSTEM SET log_statement = 'all'")
            connection.execute("SELECT pg_reload_conf()")
        for count in options.watchers:
            events, counted = _watched(stack, count, options.latency)
            rows.append([str(count), str(events), *(f"{counted[what] / events:.2f}" for what in (*COUNTED, "all"))])
            points.append((float(count), counted["reads of the log and of heads"] / events))
    sentence = (
        "`python -m bench.load watchers`: the web process's statements for each event of one council, by its watchers."
    )
    report("watchers", sentence, ["watchers", "events", *COUNTED, "all"], rows, write=options.write)
    if options.write:
        curves(
            "load-watchers",
            "Reads of the log for each event",
            "watchers of one council",
            "statements",
            {"reads": points},
        )
    few, many = points[0][1], points[-1][1]
    if few == 0:
        return ["no statement of the web process was found in the log"]
    return (
        [] if many <= 2 * few + 0.1 else [f"reads for each event grew from {few:.2f} to {many:.2f} with the watchers"]
    )


def _watched(stack: Target, count: int, latency: int) -> tuple[int, Counter[str]]:
    """Events of one council while so many watched it, and the web process's statements in that time by kind."""
    council = stack.draft(f"latency-{latency}")
    ours, theirs = get_context("spawn").Pipe()
    holding = get_context("spawn").Process(target=idle.hold, args=(stack.address, council, theirs), daemon=True)
    holding.start()
    ours.send(count - 1)  # and we
    if not ours.recv():
        raise SystemExit(f"{count} watchers were not accepted")
    time.sleep(SETTLE_S)
    log = stack.data / "logs" / "postgres.log"
    began, first = log.stat().st_size, stack.heads()[council]
    backends = _backends_of_web(stack)
    stack.start(council)
    for _ in stack.client.watch(council, timeout=120):
        pass
    backends |= _backends_of_web(stack)
    events = stack.heads()[council] - first
    counted = _count(log, began, backends)
    holding.terminate()
    holding.join()
    return events, counted


def _backends_of_web(stack: Target) -> set[int]:
    """Backends whose client is the web process: by the ports of its connections to the database."""
    port = int(stack.known["database_url"].rpartition(":")[2].partition("/")[0])
    inodes = {
        path.readlink().name
        for path in Path(f"/proc/{stack.web_pids()[0]}/fd").iterdir()
        if "socket:" in str(path.readlink())
    }
    rows = [line.split() for line in Path(f"/proc/{stack.web_pids()[0]}/net/tcp").read_text().splitlines()[1:]]
    mine = [row for row in rows if f"socket:[{row[9]}]" in inodes and int(row[2].partition(":")[2], 16) == port]
    ports = [int(row[1].partition(":")[2], 16) for row in mine]
    with stack.database() as connection:
        found = connection.execute("SELECT pid FROM pg_stat_activity WHERE client_port = ANY(%s)", [ports]).fetchall()
    return {row[0] for row in found}


def _count(log: Path, began: int, backends: set[int]) -> Counter[str]:
    counted: Counter[str] = Counter()
    with log.open("rb") as lines:
        lines.seek(began)
        for raw in lines:
            line = raw.decode(errors="replace")
            pid = re.search(r"\[(\d+)\] LOG:  (?:statement|execute [^:]*): (.*)", line)
            if pid is None or int(pid[1]) not in backends or re.match(r"(BEGIN|COMMIT|ROLLBACK|SET|$)", pid[2]):
                continue
            counted["all"] += 1
            for what, pattern in COUNTED.items():
                counted[what] += bool(pattern.search(pid[2]))
    return counted
