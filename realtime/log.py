"""The only writer of event logs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.utils import timezone

from realtime import nudge
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


def append(stream: Stream, *events: NewEvent) -> list[int]:
    """Append ``(type, payload)`` pairs to the stream's log and return their numbers.

    Must run inside the transaction that changes the state: the row lock that the counter's update takes keeps numbers gapless and
    in commit order. Watchers are woken after the commit; when that nudge is lost they find the rows at their next heartbeat.
    ``stream.last_seq`` is brought up to date.

    Raises ``NotFound`` when the owner row is gone, ``TransactionManagementError`` outside a transaction.
    """
    if not events:
        return []
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            "events are appended inside the transaction that changes the state"
        )
    numbers = _insert(stream, events)
    if not numbers:
        raise NotFound(f"stream {stream.pk} does not exist")
    stream.last_seq = numbers[-1]
    _wake_on_commit(stream_group(type(stream), stream.pk))
    return numbers


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
