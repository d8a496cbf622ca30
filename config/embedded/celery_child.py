"""`celery`, with two additions for the supervisor: it says when it is ready, and its pool dies with it.

Run as `python -m config.embedded.celery_child worker …`. READY_FILE names a file that receives our process id once the
worker consumes, or beat ticks: no broker round trip, and no guessing from the log.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from celery import signals
from celery.bin.celery import main as celery_main

from config.embedded.exec_child import die_with_parent
from config.embedded.process import READY_FILE

MAIN_PID = os.getpid()


@signals.worker_ready.connect
@signals.beat_init.connect
def report_ready(**_sender: Any) -> None:
    Path(os.environ[READY_FILE]).write_text(str(MAIN_PID))


@signals.worker_process_init.connect
def follow_the_worker(**_sender: Any) -> None:
    """A prefork child would outlive a killed worker for as long as its task takes. The pool forks in the worker's main thread."""
    die_with_parent(MAIN_PID, signal.SIGKILL)


if __name__ == "__main__":
    sys.argv[0] = "celery"
    celery_main()
