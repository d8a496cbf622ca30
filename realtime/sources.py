"""What a live stream needs to know of its owner: who may watch it, what it looks like now, and where its log is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, cast
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connection, transaction

from realtime.groups import stream_group
from realtime.models import Event, Stream


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    seq: int
    type: str
    at: datetime
    data: Any


class StreamSource(ABC):
    """One kind of stream. Subclasses set ``model`` and ``scopes``, and say who may watch and what a newcomer is shown; both methods
    run on a database thread."""

    model: ClassVar[type[Stream]]
    scopes: ClassVar[tuple[str, ...]]  # what a key needs to watch, all of them
    shows_work: ClassVar[bool] = True  # whether models write here, and whether it is said how many watch

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not getattr(cls, "scopes", ()):
            raise TypeError(f"{cls.__name__} does not say which scopes a key needs to watch")

    @abstractmethod
    def authorise(self, user: AbstractBaseUser, stream_id: UUID) -> bool:
        """Whether the user may watch. ``False`` and ``NotFound`` read as unknown (4404), ``Forbidden`` as 4403."""

    @abstractmethod
    def snapshot(self, stream_id: UUID) -> tuple[dict[str, Any], int]:
        """The whole state, the same for every watcher, and the number of the last event that it contains. Runs inside a
        repeatable-read transaction, so several queries see one moment. Raises ``NotFound``."""

    def forgets(self, event: LoggedEvent) -> bool:
        """Whether the log says less, from this event on, of what came before it: frames that were made of that are not to be shown
        to newcomers."""
        return False

    def group(self, stream_id: UUID) -> str:
        return stream_group(self.model, stream_id)


def event_model(model: type[Stream]) -> type[Event]:
    related = cast("Any", model)._meta.get_field("events").related_model  # the abstract class has no such relation
    if not (isinstance(related, type) and issubclass(related, Event)):
        raise TypeError(f"{model.__name__} has no event log named 'events'")
    return related


def read_events(model: type[Stream], stream_id: UUID, after: int, limit: int) -> list[LoggedEvent]:
    """The log's rows with ``seq > after`` in order, at most ``limit``. One query."""
    manager: Any = event_model(model)._default_manager  # the abstract class has no ``stream`` either
    rows = (
        manager.filter(stream_id=stream_id, seq__gt=after)
        .order_by("seq")
        .values_list("seq", "type", "created_at", "payload")[:limit]
    )
    return [LoggedEvent(*row) for row in rows]


def read_heads(model: type[Stream], stream_ids: Iterable[UUID]) -> dict[UUID, int]:
    """``last_seq`` of each of the streams that exist. One query."""
    return dict(model._default_manager.filter(pk__in=list(stream_ids)).values_list("pk", "last_seq"))


def read_snapshot(source: StreamSource, stream_id: UUID) -> tuple[dict[str, Any], int]:
    """The source's snapshot, read at one moment."""
    with one_moment():
        return source.snapshot(stream_id)


@contextmanager
def one_moment() -> Iterator[None]:
    """A transaction that sees one state of the database and changes nothing; not inside another."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
