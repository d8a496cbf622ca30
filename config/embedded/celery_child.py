"""`celery`, with two additions for the supervisor: it says when it is ready, and its pool dies with it.

`main([…])`, or `python -m config.embedded.celery_child worker …`. READY_FILE names a file that receives our process id once the
worker consumes, or beat ticks: no broker round trip, and no guessing from the log.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celery import signals
from celery.bin.celery import main as celery_main

from config.embedded.exec_child import die_with_parent
from config.embedded.liveness import keep_beating
from config.embedded.process import READY_FILE


def report_ready(**_sender: Any) -> None:
    ready = Path(os.environ[READY_FILE])
    ready.write_text(str(os.getpid()))
    keep_beating(ready)


def main(arguments: Sequence[str]) -> None:
    """Leaves through SystemExit, as Celery's own command does."""
    worker = os.getpid()

    def follow_the_worker(**_sender: Any) -> None:
        """A prefork child would outlive a killed worker for as long as its task takes. The pool forks in the worker's main thread."""
        die_with_parent(worker, signal.SIGKILL)

    signals.worker_ready.connect(report_ready)
    signals.beat_init.connect(report_ready)
    signals.worker_process_init.connect(follow_the_worker, weak=False)
    sys.argv = ["celery", *arguments]
    celery_main()


if __name__ == "__main__":
    main(sys.argv[1:])
