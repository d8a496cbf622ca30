"""The only writer of event logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.utils import timezone

from realtime import actor, nudge
from realtime.errors import NotFound
from realtime.groups import stream_group
from realtime.models import Event, Stream

NewEvent = tuple[str, Mapping[str, Any]]

# One round trip: the owner's counter and the rows that it numbers. Statement-level atomicity keeps them together.
_APPEND = """
    WITH owner AS (
        UPDATE {owner} SET last_seq = last_seq + %(count)s WHERE id = %(stream)s RETURNING last_seq
    )
    INSERT INTO {events} (stream_id, seq, type, payload, created_at)
    SELECT %(stream)s, owner.last_seq - %(count)s + new.n, new.type, new.payload::jsonb, %(now)s
    FROM owner, unnest(%(types)s::text[], %(payloads)s::text[]) WITH ORDINALITY AS new(type, payload, n)
    RETURNING seq
"""


def append(stream: Stream, *events: NewEvent) -> None:
    """Append ``(type, payload)`` pairs to the stream's log and bring ``stream.last_seq`` up to date.

    Must run inside the transaction that changes the state: the row lock that the counter's update takes keeps numbers gapless and
    in commit order. Watchers are woken after the commit; when that nudge is lost they find the rows at their next heartbeat.

    Raises ``NotFound`` when the owner row is gone, ``TransactionManagementError`` outside a transaction.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            "events are appended inside the transaction that changes the state"
        )
    if not events:
        return
    if stream.names_actor:
        events = tuple((kind, {**payload, "actor": actor.current()}) for kind, payload in events)
    gathered = _gathered.get()
    if gathered is None:
        _write(stream, events)
    else:
        gathered.append((stream, events))


_gathered: ContextVar[list[tuple[Stream, tuple[NewEvent, ...]]] | None] = ContextVar("gathered", default=None)


@contextmanager
def gathering() -> Iterator[None]:
    """What is appended inside is written at the end, in its order and by one statement for each stream; nothing when the block
    raises. For code that tells of a change in several places of one transaction. No savepoint inside may be rolled back."""
    gathered: list[tuple[Stream, tuple[NewEvent, ...]]] = []
    token = _gathered.set(gathered)
    try:
        yield
    finally:
        _gathered.reset(token)
    for group in dict.fromkeys(stream_group(type(stream), stream.pk) for stream, _ in gathered):
        parts = [(stream, events) for stream, events in gathered if stream_group(type(stream), stream.pk) == group]
        _write(parts[0][0], tuple(event for _, events in parts for event in events))
        for stream, _ in parts:
            stream.last_seq = parts[0][0].last_seq


def _write(stream: Stream, events: tuple[NewEvent, ...]) -> None:
    numbers = _insert(stream, events)
    if not numbers:
        raise NotFound(f"stream {stream.pk} does not exist")
    stream.last_seq = numbers[-1]
    _wake_on_commit(stream_group(type(stream), stream.pk))


@dataclass(frozen=True)
class _Wake:
    group: str

    def __call__(self) -> None:
        nudge.wake(self.group)


def _wake_on_commit(group: str) -> None:
    """One hint for each transaction, however many events it appends; a rolled-back savepoint takes its own hint with it."""
    wake = _Wake(group)
    here = set(connection.savepoint_ids)
    pending = cast("Any", connection).run_on_commit  # (savepoints, action, robust); the stubs know two of the three
    if not any(action == wake and savepoints <= here for savepoints, action, _ in pending):
        transaction.on_commit(wake, robust=True)


def _insert(stream: Stream, events: tuple[NewEvent, ...]) -> list[int]:
    model: type[Event] = cast("Any", stream)._meta.get_field("events").related_model  # by convention, see models
    quote = connection.ops.quote_name
    statement = _APPEND.format(owner=quote(stream._meta.db_table), events=quote(model._meta.db_table))
    values = {
        "stream": stream.pk,
        "count": len(events),
        "now": timezone.now(),
        "types": [kind for kind, _ in events],
        "payloads": [json.dumps(payload, cls=DjangoJSONEncoder) for _, payload in events],
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return sorted(row[0] for row in cursor.fetchall())
