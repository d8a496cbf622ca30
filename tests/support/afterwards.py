"""What holds of every council that a test leaves behind: nobody was told who else sits at the table, its decision recounts, its
event log and its rows agree (packs' as well), and its events are as they are described.

    python -m tests.support.afterwards [--decisions]     # in the database of DATABASE_URL; exits 1 and says what does not

``--decisions`` leaves logs to ``manage.py check_history``.

The tests' own database is looked at where they run (``tests.conftest``). A stack that ``manage.py up`` or ``demo`` started has another
one, which is read here, by a process of its own, for Django knows one default database.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.embedded import postgres
from config.embedded.state import DataDir
from config.embedded.supervisor import Supervisor

PROJECT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120


def assert_councils_were_blind_and_recount(database_url: str) -> int:
    """How many councils there were. For a server that is running."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.afterwards"],
        env={**os.environ, "DATABASE_URL": database_url},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[-1])


@contextmanager
def server_over(directory: Path) -> Iterator[str]:
    """The URL of the database in the data directory of a stack that has ended, started again for the while."""
    server, supervisor = postgres.prepare(DataDir(directory)), Supervisor()
    try:
        supervisor.start(server.spec())
        supervisor.wait_healthy()
        yield server.url
    finally:
        supervisor.stop([])


def faults(*, decisions_only: bool) -> list[str]:
    """Of the councils in the database that the settings name."""
    from council.models import CouncilSession
    from council.recount import recount
    from tests.support import histories
    from tests.support.blindness import leaks
    from tests.support.described import undescribed

    found = [*leaks(), *undescribed()]
    found += [] if decisions_only else [*histories.of_councils(), *histories.of_packs()]
    for session in CouncilSession.objects.filter(runs__decision__isnull=False).distinct():
        counted = recount(session)
        found += [] if counted["agrees"] else [f"{session.pk}: {counted['differences']}"]
    return found


def main() -> int:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from council.models import CouncilSession

    found = faults(decisions_only="--decisions" in sys.argv)
    print(*found, CouncilSession.objects.count(), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
