"""Nudges: messages that make things happen sooner and whose loss costs nothing but time.

Rows are truth and the broker is a nudge: every function here gives up after half a second (and then, for a second, at once), never
retries and never raises. A failure is counted and logged; the sweeper, the heartbeat or the next reader finds the row anyway.

Messages to sockets are published raw, in the channel layer's own wire format: ``async_to_sync(group_send)`` opened a new
connection for each (2.1 ms of CPU against 0.04 when measured).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

import msgpack
import redis
from celery import current_app
from django.conf import settings
from django.db import transaction
from kombu import Connection
from kombu.exceptions import OperationalError as BrokerError
from kombu.pools import producers
from prometheus_client import Counter
from redis.backoff import NoBackoff
from redis.retry import Retry

from realtime.failpoints import failpoint
from realtime.groups import user_group

log = logging.getLogger(__name__)

TIMEOUT_S = 0.5
# A broker that is frozen costs a request one time-out and not one for each of its nudges (an entry has sixteen). One that refuses says so
# at once, and nothing needs to wait until it is back.
SLOW_S, PAUSE_S = 0.3, 1.0
PARTIAL_KEY = "quorum:partial:"
PARTIAL_TTL_S = 900  # how long the unfinished text of a turn is kept for late joiners
FAILURES = Counter("quorum_nudge_failures_total", "Nudges that were given up", ["kind"])


@cache
def client() -> redis.Redis:
    """One pooled client per process; redis-py's pool notices a fork and starts anew."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),  # its own are three, with seconds between them
        max_connections=64,
    )


def wake(group: str) -> None:
    """Tell every feed that watches the group that its log has grown."""
    failpoint("nudge.wake")
    _publish(group, {"type": "stream.hint"})
    failpoint("nudge.woke")


def sign_out(user_id: UUID) -> None:
    """Tell every process to check this user's sockets again at once."""
    _publish(user_group(user_id), {"type": "user.recheck"})


def recheck(group: str) -> None:
    """Tell every process to check again at once who may watch this stream."""
    _publish(group, {"type": "stream.recheck"})


def publish_delta(group: str, *, turn: str, attempt: int, start: int, text: str, partial: str) -> None:
    """Send ``text``, which begins at character ``start`` of the turn's live text, and keep ``partial`` (all of it so far) for
    those who join later."""
    message = {"type": "stream.delta", "turn": turn, "attempt": attempt, "from": start, "text": text}

    def send() -> None:
        with client().pipeline(transaction=False) as pipe:
            pipe.publish(_channel(group), _encode(message))
            pipe.hset(partial_key(turn), mapping={"attempt": attempt, "text": partial})
            pipe.expire(partial_key(turn), PARTIAL_TTL_S)
            pipe.execute()

    failpoint("nudge.delta")
    _attempt("delta", send)
    failpoint("nudge.published_delta")


def forget_partial(turn: str) -> None:
    _attempt("partial", lambda: client().delete(partial_key(turn)))


def partial_key(turn: str) -> str:
    return f"{PARTIAL_KEY}{turn}"


def send_task(name: str, args: Sequence[Any], queue: str, *, delay_s: float = 0, expires_s: float = 0) -> None:
    """Queue a Celery task by name, to be run now or after ``delay_s`` seconds, and not at all when nobody has taken it within
    ``expires_s`` (0: however late)."""
    failpoint("nudge.send_task")
    _attempt("task", lambda: _send(name, args, queue, delay_s, expires_s))
    failpoint("nudge.sent_task")


def send_task_on_commit(name: str, args: Sequence[Any], queue: str) -> None:
    transaction.on_commit(lambda: send_task(name, args, queue), robust=True)


def _send(name: str, args: Sequence[Any], queue: str, delay_s: float, expires_s: float) -> None:
    with producers[_broker()].acquire(block=True, timeout=TIMEOUT_S) as producer:
        current_app.send_task(
            name,
            args=list(args),
            queue=queue,
            countdown=delay_s or None,
            expires=expires_s or None,
            producer=producer,
            retry=False,
            ignore_result=True,
        )


@cache
def _broker() -> Connection:
    # Workers' own connections wait longer; a publisher inside a request must not (a frozen broker hung one for a minute).
    options = {
        **settings.CELERY_BROKER_TRANSPORT_OPTIONS,
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "max_retries": 0,  # of a connection that was lost: kombu would try for six seconds to have it back
    }
    return Connection(settings.CELERY_BROKER_URL, transport_options=options)


_resume_at = 0.0


def _publish(group: str, message: dict[str, Any]) -> None:
    _attempt("publish", lambda: client().publish(_channel(group), _encode(message)))


def _channel(group: str) -> str:
    return f"{settings.CHANNEL_PREFIX}__group__{group}"


def _encode(message: dict[str, Any]) -> bytes:
    encoded: bytes = msgpack.packb(message)
    return encoded


def _attempt(kind: str, action: Callable[[], object]) -> None:
    global _resume_at  # noqa: PLW0603  # one pause for each process
    began = time.monotonic()
    if began < _resume_at:
        FAILURES.labels(kind).inc()
        return
    try:
        action()
    except (redis.RedisError, BrokerError, OSError) as error:
        if time.monotonic() - began > SLOW_S:
            _resume_at = time.monotonic() + PAUSE_S
        FAILURES.labels(kind).inc()
        log.warning("nudge %s was given up: %s", kind, error)
