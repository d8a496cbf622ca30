"""The only writer of event logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from realtime import nudge
from realtime.errors import NotFound
from realtime.groups import stream_group
from realtime.models import Event, Stream

NewEvent = tuple[str, Mapping[str, Any]]


def append(stream: Stream, *events: NewEvent) -> list[int]:
    """Append ``(type, payload)`` pairs to the stream's log and return their numbers.

    Must run inside the transaction that changes the state: the row lock that the counter's update takes keeps numbers gapless and
    in commit order. Watchers are woken after the commit; when that nudge is lost they find the rows at their next heartbeat.
    ``stream.last_seq`` is brought up to date.

    Raises ``NotFound`` when the owner row is gone, ``TransactionManagementError`` outside a transaction.
    """
    if not events:
        return []
    last = _take_numbers(stream, len(events))
    first = last - len(events) + 1
    now = timezone.now()
    model: type[Event] = stream._meta.get_field("events").related_model  # type: ignore[assignment,union-attr]  # by convention, see models
    model._default_manager.bulk_create(
        model(stream_id=stream.pk, seq=first + offset, type=kind, payload=payload, created_at=now)  # type: ignore[misc]
        for offset, (kind, payload) in enumerate(events)
    )
    stream.last_seq = last
    group = stream_group(type(stream), stream.pk)
    transaction.on_commit(lambda: nudge.wake(group), robust=True)
    return list(range(first, last + 1))


def _take_numbers(stream: Stream, count: int) -> int:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            "events are appended inside the transaction that changes the state"
        )
    table = connection.ops.quote_name(stream._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET last_seq = last_seq + %s WHERE id = %s RETURNING last_seq",  # noqa: S608  # table is ours
            [count, stream.pk],
        )
        row = cursor.fetchone()
    if row is None:
        raise NotFound(f"stream {stream.pk} does not exist")
    return int(row[0])
