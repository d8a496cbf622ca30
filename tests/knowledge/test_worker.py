"""Indexing by a real Celery worker of its own process, woken through a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.models import User
from knowledge import services, tasks
from knowledge.models import Entry, KnowledgePack
from tests.knowledge.conftest import ITEMS

pytestmark = pytest.mark.django_db(transaction=True)


def start_worker() -> subprocess.Popen[bytes]:
    database = connection.settings_dict
    account = f"{quote(database['USER'])}:{quote(database['PASSWORD'])}@{database['HOST']}:{database['PORT']}"
    url = f"postgresql://{account}/{database['NAME']}"
    environment = {**os.environ, "DATABASE_URL": url, "REDIS_URL": settings.REDIS_URL}
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "config",
        "worker",
        "-Q",
        "index",
        "-c",
        "1",
        "--loglevel",
        "WARNING",
    ]
    return subprocess.Popen(
        [*command, "--without-gossip", "--without-mingle", "-n", f"test-{time.time_ns()}@%h"],
        env=environment,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes], sign: signal.Signals = signal.SIGTERM) -> None:
    if process.poll() is None:
        os.killpg(process.pid, sign)
    process.wait(timeout=30)


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    process = start_worker()
    yield process
    stop(process)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


def all_are(status: str) -> bool:
    return set(Entry.objects.values_list("index_status", flat=True)) == {status}


def swept_and_ready() -> bool:
    """Beat's part: a wake-up that nobody takes within seconds is void, and starting a worker may take longer."""
    tasks.sweep()
    return all_are("ready")


def test_a_worker_indexes_what_a_request_committed(
    worker: subprocess.Popen[bytes], pack: KnowledgePack, user: User
) -> None:
    services.add_entries(pack, user, ITEMS)
    wait_for(lambda: all_are("ready"))
    pack.refresh_from_db()
    assert pack.status == "active"


def test_the_work_of_a_killed_worker_is_done_by_the_next(pack: KnowledgePack, user: User) -> None:
    long = "\n\n".join(f"Paragraph {i}. " + "Heat flows through the wall. " * 30 for i in range(150))
    services.add_entries(pack, user, [{"title": "Long", "content": long}])
    first = start_worker()
    wait_for(lambda: all_are("indexing"))
    stop(first, signal.SIGKILL)
    assert all_are("indexing")
    Entry.objects.update(lease_expires_at=timezone.now())  # as if the 30 seconds of the lease were over
    second = start_worker()
    try:
        wait_for(swept_and_ready)
    finally:
        stop(second)
    assert Entry.objects.get().attempt == 2
