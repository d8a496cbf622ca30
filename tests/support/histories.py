"""After every test: the event logs of what it leaves behind are sound, and tell the same as the rows (``council.history``)."""

from __future__ import annotations

import pytest
from django.db import connection

from council.history import stored
from council.models import CouncilSession
from knowledge import history as packs
from knowledge.models import KnowledgePack

OF_PACKS = ("tests/knowledge/", "tests/chaos/", "tests/e2e/")


def concerns_packs(item: pytest.Item) -> bool:
    """Whether a test may have left knowledge packs behind, and has not forged them."""
    database = item.get_closest_marker("django_db") or {"db", "transactional_db"} & set(
        getattr(item, "fixturenames", ())
    )
    ours = item.nodeid.startswith(OF_PACKS) and not item.get_closest_marker("forges")
    return bool(database) and ours and not connection.needs_rollback


def of_councils() -> list[str]:
    ids = CouncilSession.objects.order_by("pk").values_list("pk", flat=True)
    return [f"council {pk}: {fault}" for pk in list(ids) for fault in stored.faults(pk)]


def assert_councils_sound() -> None:
    found = of_councils()
    assert not found, found


def of_packs() -> list[str]:
    ids = KnowledgePack.objects.order_by("pk").values_list("pk", flat=True)
    return [f"pack {pk}: {fault}" for pk in list(ids) for fault in packs.faults(pk)]


def assert_packs_sound() -> None:
    found = of_packs()
    assert not found, found
