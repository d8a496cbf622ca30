"""What must hold of every council when all is quiet again.

Of every log and its rows: what ``manage.py check_history`` checks. Of every decision and prompt: ``tests.support.afterwards``. The
queries here ask for more, because here everything was to be completed: each finds violations, one text a row.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from bench.chaos.flow import Database
from bench.stack import ROOT

CHECK_TIMEOUT_S = 900
HISTORIES = ["manage.py", "check_history", "--all", "--packs"]
RECOUNTS = ["-m", "tests.support.afterwards", "--decisions"]

QUERIES: Mapping[str, str] = {
    "stuck or failed": """
        SELECT id || ' is ' || status || ' ' || reason FROM council_councilsession WHERE status <> 'completed'
    """,
    "lost turn": """
        SELECT turn.id || ' (' || turn.kind || ') is ' || turn.status || ' ' || turn.error || ' in ' || turn.session_id
        FROM council_turn AS turn WHERE status <> 'completed' AND NOT (status = 'cancelled' AND error = 'not_needed')
    """,
    "seat never asked": """
        SELECT seat.id || ' in round ' || round.number || ' of ' || seat.session_id
        FROM council_seat AS seat JOIN council_run AS run ON run.session_id = seat.session_id
        JOIN council_round AS round ON round.run_id = run.id AND round.stage IN ('opening', 'ballot')
        WHERE NOT seat.chair AND NOT EXISTS (SELECT FROM council_turn WHERE round_id = round.id AND seat_id = seat.id)
    """,
    "call not settled": """
        SELECT call.id || ' of ' || call.session_id FROM council_llmcall AS call WHERE call.status = 'running'
    """,
}
UNSETTLED = "SELECT count(*) FROM council_llmcall WHERE status = 'running'"
HEADS = "SELECT id::text, last_seq FROM council_councilsession"


def violations(database: Database, database_url: str, seen: Mapping[str, int]) -> list[str]:
    """``seen``: the last event that a watcher had of each council that it followed to its end."""
    found = [f"{what}: {row[0]}" for what, query in QUERIES.items() for row in database.rows(query)]
    heads = dict(database.rows(HEADS))
    found += [
        f"a watcher of {session} saw the end as event {seq}, which is {heads[session]}"
        for session, seq in seen.items()
        if heads[session] != seq
    ]
    return [*found, *_said("history", HISTORIES, database_url), *_said("recount", RECOUNTS, database_url)]


def unsettled(database: Database) -> int:
    return int(database.rows(UNSETTLED)[0][0])


def _said(what: str, command: Sequence[str], database_url: str) -> list[str]:
    """The lines that a checker says when it fails; by a process that has Django set up on that database."""
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "DATABASE_URL": database_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=CHECK_TIMEOUT_S,
        check=False,
    )
    return [f"{what}: {line}" for line in f"{done.stdout}{done.stderr}".splitlines()] if done.returncode else []
