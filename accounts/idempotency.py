"""The first answer to a POST, kept for its repetitions.

The claim (a row with ``status`` null) is committed before the view runs. The view's changes and the stored answer are then
committed **together**, in one transaction, and only while the claim's token is still in the row:

- crash before that commit: nothing has changed; the claim goes stale after ``STALE_AFTER`` and the next repetition runs anew;
- crash after it: the repetition gets the stored answer;
- a first request that outlives ``STALE_AFTER`` and is overtaken finds another token and rolls its own changes back.

So the effect happens at most once however the processes die. What a view does outside the database (nudges, sent on
commit) may be lost in a crash, and the sweepers make up for that. 4xx answers are kept as well (their changes were rolled
back); 5xx answers are not, and the claim is given up so that a repetition tries again.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.errors import IdempotencyBusy, IdempotencyMismatch
from accounts.models import IdempotencyRecord, User

STALE_AFTER = timedelta(seconds=60)
WAIT_S = 10.0
_POLL_S = (0.02, 0.25)  # first and longest pause between two looks at a running request


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it went out. ``headers`` are those a repetition must see again."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run the request of this record, until someone else's token stands in the row."""

    record_id: int
    token: uuid.UUID


def begin(user: User, key: str, fingerprint: bytes) -> Claim | Answer:
    """Claims the key, or returns the stored answer; waits up to ``WAIT_S`` seconds for a request that is still running.

    Raises ``IdempotencyMismatch`` when the key belongs to another request, ``IdempotencyBusy`` when the wait was in vain.
    """
    deadline = time.monotonic() + WAIT_S
    found = _claim_or_answer(user, key, fingerprint)
    if found is not None:
        return found
    with _queues.turn((user.pk, key), deadline):
        return _polled(user, key, fingerprint, deadline)


def _polled(user: User, key: str, fingerprint: bytes, deadline: float) -> Claim | Answer:
    pause = _POLL_S[0]
    while True:
        found = _claim_or_answer(user, key, fingerprint)
        if found is not None:
            return found
        if time.monotonic() >= deadline:
            raise _busy()
        _pause(pause)
        pause = min(2 * pause, _POLL_S[1])


def _busy() -> IdempotencyBusy:
    return IdempotencyBusy("The first request with this Idempotency-Key is still running.")


class _Queues:
    """Those in this process who wait for one request: the first of them looks into the database, the others wait for their turn. Two
    hundred that all looked would leave no connection, and no processor, for the one that they wait for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[tuple[uuid.UUID, str], tuple[threading.Lock, int]] = {}

    @contextmanager
    def turn(self, name: tuple[uuid.UUID, str], deadline: float) -> Iterator[None]:
        """Raises ``IdempotencyBusy`` when it does not come before the deadline."""
        _give_back()
        with self._lock:
            queue, waiting = self._queues.get(name, (threading.Lock(), 0))
            self._queues[name] = (queue, waiting + 1)
        try:
            if not queue.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise _busy()
            try:
                yield
            finally:
                queue.release()
        finally:
            self._leave(name)

    def _leave(self, name: tuple[uuid.UUID, str]) -> None:
        with self._lock:
            queue, waiting = self._queues.pop(name)
            if waiting > 1:
                self._queues[name] = (queue, waiting - 1)


_queues = _Queues()


def finish(claim: Claim, answer: Answer) -> None:
    """Stores the answer. ``IdempotencyBusy`` when the claim was taken over: the caller's transaction must roll back."""
    kept = IdempotencyRecord.objects.filter(pk=claim.record_id, token=claim.token, status=None).update(
        status=answer.status, headers=answer.headers, body=answer.body
    )
    if kept != 1:
        raise IdempotencyBusy("This request took so long that a repetition of it was started; its changes were undone.")


def release(claim: Claim) -> None:
    """Gives the claim up without an answer; a claim that was taken over is the other's business."""
    IdempotencyRecord.objects.filter(pk=claim.record_id, token=claim.token, status=None).delete()


def _claim_or_answer(user: User, key: str, fingerprint: bytes) -> Claim | Answer | None:
    now = timezone.now()
    record, created = IdempotencyRecord.objects.get_or_create(user=user, key=key, defaults={"fingerprint": fingerprint})
    if created:
        return Claim(record.pk, record.token)
    if record.created_at < _oldest(now):
        IdempotencyRecord.objects.filter(pk=record.pk, token=record.token).delete()
        return _claim_or_answer(user, key, fingerprint)
    if bytes(record.fingerprint) != fingerprint:
        raise IdempotencyMismatch("This Idempotency-Key was used before with another path or body.")
    if record.status is not None:
        return Answer(record.status, record.headers, bytes(record.body))
    return _take_over(record) if record.claimed_at < now - STALE_AFTER else None


def _take_over(record: IdempotencyRecord) -> Claim | None:
    token = uuid.uuid4()
    mine = IdempotencyRecord.objects.filter(pk=record.pk, token=record.token, status=None).update(
        token=token, claimed_at=timezone.now()
    )
    return Claim(record.pk, token) if mine == 1 else None


def expired(now: datetime) -> QuerySet[IdempotencyRecord]:
    """Records that no repetition is answered with any more, and whose request does not run any more; ``cleaning`` removes them."""
    over = Q(status__isnull=False) | Q(claimed_at__lt=now - STALE_AFTER)
    return IdempotencyRecord.objects.filter(over, created_at__lt=_oldest(now)).order_by("created_at")


def _oldest(now: datetime) -> datetime:
    return now - timedelta(hours=settings.IDEMPOTENCY_HOURS)


def _pause(seconds: float) -> None:
    _give_back()
    time.sleep(seconds)


def _give_back() -> None:
    if not connection.in_atomic_block:
        connection.close()  # to the pool: ten waiting requests would otherwise leave nothing for the one they wait for
