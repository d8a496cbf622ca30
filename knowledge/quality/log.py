"""The search log: what people and councils searched for, and which entries they were shown.

A search must not wait for its record. ``record`` puts it into a bounded queue and returns; one thread of the process writes what
has gathered, several searches in one statement. What does not fit, or cannot be written, is lost and counted
(``quorum_search_log_lost_total``): the log steers curation, and nothing is decided by it.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection, transaction
from prometheus_client import Counter

from accounts.models import User
from knowledge.models import KnowledgePack, SearchLog
from knowledge.quality.uses import count_retrieved
from knowledge.search import SearchResult

logger = logging.getLogger(__name__)

CAPACITY = 2000  # searches that may wait; about 4 MB at the longest queries
BATCH = 200
GATHER_S = 0.5  # how long the writer lets searches gather
EXIT_S = 2.0  # how long a process that ends waits for its last ones
LOST = Counter("quorum_search_log_lost_total", "Searches that were not logged", ["why"])


@dataclass(frozen=True, slots=True)
class Record:
    """A search of one pack."""

    row: SearchLog
    entries: tuple[UUID, ...]  # that it was answered with


def record(
    packs: Sequence[KnowledgePack], user: User | None, query: str, mode: str, result: SearchResult, origin: str
) -> None:
    """Log a search, as one row for each pack. ``origin`` is "person" or "council". Never waits and never raises for want of room;
    does nothing when ``SEARCH_LOG`` is off."""
    if not settings.SEARCH_LOG:
        return
    for pack in packs:
        _writer().put(_record(pack, user, query, mode, result, origin))


def flush(timeout_s: float = EXIT_S) -> bool:
    """Wait until everything recorded by this process so far is written or counted as lost; False when time runs out."""
    return _writer().flush(timeout_s)


def _record(pack: KnowledgePack, user: User | None, query: str, mode: str, result: SearchResult, origin: str) -> Record:
    hits = [hit for hit in result.hits if hit.pack_id == pack.pk]
    row = SearchLog(
        pack_id=pack.pk,
        user_id=user.pk if user else None,
        origin=origin,
        query=query.replace("\x00", " ").strip()[:2000],
        mode=result.mode or mode,
        path=result.path,
        hits=len(hits),
        best=hits[0].score if hits else None,
        took_ms=result.took_ms,
    )
    return Record(row, tuple(hit.entry_id for hit in hits))


class Writer:
    """One thread and one bounded queue, both of one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._waiting: queue.Queue[Record] = queue.Queue(CAPACITY)
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()

    def put(self, item: Record) -> None:
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            LOST.labels("full").inc()
            return
        if self._thread is None:
            self._begin()

    def flush(self, timeout_s: float) -> bool:
        until = time.monotonic() + timeout_s
        self._hurry.set()
        try:
            while self._waiting.unfinished_tasks and time.monotonic() < until:
                time.sleep(0.01)
        finally:
            self._hurry.clear()
        return not self._waiting.unfinished_tasks

    def _begin(self) -> None:
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="search-log", daemon=True)
                self._thread.start()
                atexit.register(self.flush, EXIT_S)

    def _run(self) -> None:
        while True:
            batch = [self._waiting.get()]
            self._hurry.wait(GATHER_S)
            while len(batch) < BATCH and not self._waiting.empty():
                batch.append(self._waiting.get())
            try:
                write(batch)
            except DatabaseError as error:
                LOST.labels("database").inc(len(batch))
                logger.warning("%d searches were not logged: %s", len(batch), error)
            finally:
                connection.close()  # back into the pool until the next batch
                for _ in batch:
                    self._waiting.task_done()


def write(batch: Sequence[Record]) -> None:
    """Store searches and count what they retrieved. One whose pack or user has gone meanwhile is lost, and no other with it."""
    try:
        _write(batch)
    except IntegrityError:
        if len(batch) == 1:
            LOST.labels("gone").inc()
            return
        for item in batch:
            write([item])


@transaction.atomic
def _write(batch: Sequence[Record]) -> None:
    SearchLog.objects.bulk_create([item.row for item in batch])
    count_retrieved(Tally(entry for item in batch for entry in item.entries))


_WRITER_LOCK: Final = threading.Lock()
_current: list[Writer] = []


def _writer() -> Writer:
    """The writer of this process; a fork begins with one of its own."""
    pid = os.getpid()
    if _current and _current[0].pid == pid:
        return _current[0]
    with _WRITER_LOCK:
        if not _current or _current[0].pid != pid:
            _current[:] = [Writer()]
        return _current[0]
