"""After every test: the event logs of what it leaves behind are sound, and tell the same as the rows (``council.history``)."""

from __future__ import annotations

from council.history import stored
from council.models import CouncilSession


def of_councils() -> list[str]:
    ids = CouncilSession.objects.order_by("pk").values_list("pk", flat=True)
    return [f"council {pk}: {fault}" for pk in list(ids) for fault in stored.faults(pk)]


def assert_councils_sound() -> None:
    found = of_councils()
    assert not found, found
