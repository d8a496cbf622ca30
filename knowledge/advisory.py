"""Work that one worker does at a time and that leaves no trace when the worker dies: locks that go with their connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import connection

ANN: Final = 0x414E4E  # classes of locks; the second key is a space
REWEIGHING: Final = 0x424D32  # or a pack


@contextmanager
def alone(kind: int, key: int) -> Iterator[bool]:
    """Hold the lock (``key`` of 31 bits) on this connection; False when another one has it. Not in a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [kind, key])
        (ours,) = cursor.fetchone()
    try:
        yield ours
    finally:
        if ours:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [kind, key])
