"""What no seat may read: who else sits at the table. Looked for in every prompt that any test of councils recorded, in
the tests' own database and in those of stacks that have another one (``afterwards``).

``leaks`` reads the recorded calls of the test's database. A name that stands in what the user, the packs or the seat's own
instructions say is no leak; neither are names of one or two letters, which candidates have too.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from django.db import connection

from council.models import LlmCall, Seat

T = TypeVar("T")
CHECKED = ("tests/council/", "tests/chaos/", "tests/e2e/", "tests/realtime/")
WRITERS = {"synthesis"}  # whoever writes for the table is told nothing of its own seat either


def concerns(item: pytest.Item, checked: tuple[str, ...] = CHECKED) -> bool:
    """Whether a test may have asked models (or, with other folders ``checked``, done what these do) in the database that it leaves
    behind."""
    database = item.get_closest_marker("django_db") or {"db", "transactional_db"} & set(
        getattr(item, "fixturenames", ())
    )
    return bool(database) and item.nodeid.startswith(checked) and not connection.needs_rollback


def anywhere(look: Callable[[], T]) -> T:
    """Look into the database, also where Playwright keeps an event loop running in this thread: then on a thread and a connection of
    its own."""
    if asyncio._get_running_loop() is None:
        return look()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_look_and_close, look).result()


def _look_and_close(look: Callable[[], T]) -> T:
    try:
        return look()
    finally:
        connection.close()


def leaks() -> list[str]:
    calls = LlmCall.objects.select_related("turn__seat", "session", "turn__round").order_by()
    return [found for call in calls for found in leaks_of(call)]


def leaks_of(call: LlmCall) -> Iterator[str]:
    turn, reader = call.turn, call.turn.seat
    if reader is None:
        return
    prompt, public = f"{call.system}\n{call.user}", _public(call, reader).casefold()
    blind = turn.kind in WRITERS
    for seat in Seat.objects.filter(session=call.session_id):
        for what in ("name", "role", "model"):
            text = getattr(seat, what)
            own = text == getattr(reader, what) and not blind
            if len(text) < 3 or own or text.casefold() in public:
                continue
            if re.search(rf"(?<!\w){re.escape(text)}(?!\w)", prompt, re.IGNORECASE):
                yield f"the {turn.kind} prompt of {reader.name} has the {what} of {seat.name}: {text!r}"


def _public(call: LlmCall, reader: Seat) -> str:
    """What may stand in the prompt by its own right."""
    session = call.session
    messages = session.messages.values_list("content", flat=True)
    evidence = json.dumps(call.turn.evidence, ensure_ascii=False)
    return "\n".join([session.question, *session.options, *messages, reader.instructions, evidence])
