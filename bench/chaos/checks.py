"""What must hold of every council when all is quiet again. Each query finds violations: one text a row."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from bench.chaos.flow import Database
from bench.stack import ROOT

RECOUNT_TIMEOUT_S = 900

QUERIES: Mapping[str, str] = {
    "stuck or failed": """
        SELECT id || ' is ' || status || ' ' || reason FROM council_councilsession WHERE status <> 'completed'
    """,
    "without a decision": """
        SELECT run.session_id || ' run ' || run.number FROM council_run AS run
        WHERE run.status = 'completed' AND NOT EXISTS (SELECT FROM council_decision WHERE run_id = run.id)
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
    "committed other than once": """
        SELECT turn.id || ' has ' || count(event.seq) || ' results in the log of ' || turn.session_id
        FROM council_turn AS turn LEFT JOIN council_sessionevent AS event ON event.stream_id = turn.session_id
          AND event.type IN ('turn.completed', 'turn.failed') AND event.payload ->> 'turn' = turn.id::text
        WHERE turn.status IN ('completed', 'failed') GROUP BY turn.id, turn.session_id HAVING count(event.seq) <> 1
    """,
    "counted other than once": """
        SELECT round.id || ' (' || round.stage || ') has ' || count(event.seq) || ' tallies in ' || run.session_id
        FROM council_round AS round JOIN council_run AS run ON run.id = round.run_id
        LEFT JOIN council_sessionevent AS event ON event.stream_id = run.session_id AND event.type = 'tally.computed'
          AND (event.payload ->> 'run')::int = run.number AND (event.payload ->> 'round')::int = round.number
        GROUP BY round.id, round.stage, round.tally, run.session_id
        HAVING count(event.seq) <> CASE WHEN round.stage IN ('opening', 'ballot') THEN 1 ELSE 0 END
          OR (round.tally IS NULL) = (round.stage IN ('opening', 'ballot'))
    """,
    "round left open": """
        SELECT round.id || ' of ' || run.session_id FROM council_round AS round JOIN council_run AS run ON run.id = round.run_id
        WHERE round.closed_at IS NULL
    """,
    "gap in the log": """
        SELECT session.id || ' stands at ' || session.last_seq || ' with ' || count(event.seq) || ' events'
        FROM council_councilsession AS session LEFT JOIN council_sessionevent AS event ON event.stream_id = session.id
        GROUP BY session.id, session.last_seq
        HAVING count(event.seq) <> session.last_seq OR min(event.seq) <> 1 OR max(event.seq) <> session.last_seq
    """,
    "budget not settled": """
        SELECT budget.session_id || ': reserved ' || budget.tokens_reserved || ', used ' || budget.tokens_used || ' of '
               || coalesce(sum(call.prompt_tokens + call.completion_tokens), 0) || ' in ' || count(call.id) || ' calls'
        FROM council_budget AS budget LEFT JOIN council_llmcall AS call ON call.session_id = budget.session_id
        GROUP BY budget.session_id
        HAVING budget.tokens_reserved <> 0 OR budget.calls_reserved <> 0 OR budget.seconds_reserved <> 0 OR budget.usd_reserved <> 0
          OR budget.calls <> count(call.id) OR bool_or(call.status = 'running')
          OR budget.tokens_used <> coalesce(sum(call.prompt_tokens + call.completion_tokens), 0)
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
    return found + _recounted(database_url)


def unsettled(database: Database) -> int:
    return int(database.rows(UNSETTLED)[0][0])


def _recounted(database_url: str) -> list[str]:
    """Recount and blindness of all councils, by a process that has Django set up on that database."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.afterwards"],
        env={**os.environ, "DATABASE_URL": database_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RECOUNT_TIMEOUT_S,
        check=False,
    )
    if done.returncode == 0:
        return []
    return [f"recount: {line}" for line in done.stdout.splitlines()[:-1]] or [f"recount: {done.stderr}"]
