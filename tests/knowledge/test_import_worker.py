"""Imports by a real Celery worker of its own process, and what is left when it is killed with no time to say goodbye."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from accounts.models import User
from knowledge import tasks
from knowledge.imports import fetching, files
from knowledge.imports import job as imports_job
from knowledge.models import Entry, Import, ImportItem, KnowledgePack
from knowledge.services import imports as service
from realtime.outbound import Fetcher
from tests.knowledge import hostile
from tests.knowledge.test_worker import start_worker, stop, wait_for
from tests.realtime.test_outbound import PUBLIC, Canary

pytestmark = pytest.mark.django_db(transaction=True)

Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def start(settings: LazySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Workers that share the test's data directory."""
    settings.DATA_DIR = tmp_path
    monkeypatch.setenv("QUORUM_DATA_DIR", str(tmp_path))
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> subprocess.Popen[bytes]:
        started.append(start_worker())
        return started[-1]

    yield begin
    for process in started:
        stop(process)


def queue(pack: KnowledgePack, user: User, name: str, data: bytes) -> Import:
    stored, file = files.create()
    with file:
        file.write(data)
    return service.create_import(pack, user, path=stored, filename=name, size=len(data), on_duplicate="fail")


def status(job: Import) -> str:
    job.refresh_from_db()
    connection.close()
    return job.status


def killed_and_resumed(start: Start, first: subprocess.Popen[bytes], job: Import) -> None:
    stop(first, signal.SIGKILL)
    Import.objects.update(lease_expires_at=timezone.now())  # as if the lease were over
    start()
    tasks.sweep()
    wait_for(lambda: status(job) == "completed", 90)


def test_a_worker_killed_while_reading_is_followed_by_one_that_begins_anew(
    start: Start, pack: KnowledgePack, user: User
) -> None:
    pages = {f"{number:03}.pdf": hostile.pdf(*[f"page {number} {page}" for page in range(200)]) for number in range(30)}
    job = queue(pack, user, "a.zip", hostile.zipped(pages))
    first = start()
    wait_for(lambda: status(job) == "reading")
    killed_and_resumed(start, first, job)
    assert (job.items.filter(status="created").count(), Entry.objects.count()) == (30, 30)
    assert list(files.folder().glob("*")) == list(files.folder().glob("*.d"))  # the dead one's, for the sweeper
    assert job.lease_token >= 2


def test_a_worker_killed_while_writing_is_followed_by_one_that_goes_on(
    start: Start, pack: KnowledgePack, user: User
) -> None:
    text = "Heat flows through the wall, slowly. " * 20
    rows = [{"title": f"Entry {number}", "content": f"{number} {text}"} for number in range(600)]
    job = queue(pack, user, "a.jsonl", "\n".join(map(json.dumps, rows)).encode())
    first = start()
    wait_for(lambda: ImportItem.objects.filter(status="created").exists())
    assert status(job) == "writing"
    killed_and_resumed(start, first, job)
    titles = list(Entry.objects.order_by("ordinal").values_list("title", flat=True))
    assert titles == [f"Entry {number}" for number in range(600)]
    assert job.items.filter(status="created").count() == 600


def test_pages_are_fetched_from_allowed_hosts(
    pack: KnowledgePack, user: User, settings: LazySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATA_DIR = tmp_path
    urls = ["http://a.test/page", "http://a.test/404", "http://inner.test/secret"]
    known = {"a.test": [PUBLIC], "inner.test": ["10.0.0.1"]}
    with Canary() as canary:
        guard = Fetcher(known, resolver=lambda host, port: known[host], connector=canary.connector)
        monkeypatch.setattr(fetching, "fetcher", lambda: guard)
        thread = threading.Thread(target=canary.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        job = service.create_import(pack, user, urls=urls)
        imports_job.run(job.pk)
        canary.shutdown()
        thread.join()
    entry = Entry.objects.select_related("revision").get()
    assert (entry.source_url, entry.revision.content, status(job)) == ("http://a.test/page", "xxxxx", "completed")
    reasons = dict(job.items.filter(status="failed").values_list("source", "error"))
    assert reasons == {urls[1]: "The server answered 404.", urls[2]: "inner.test is not on the public internet."}
    assert canary.connections == 2
