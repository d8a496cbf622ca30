from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from accounts.models import User
from knowledge import indexing, services
from knowledge.batch import ItemResult
from knowledge.models import KnowledgePack
from knowledge.services import bulk_jobs
from realtime import nudge

SOLAR = {
    "title": "Solar panels on the roof",
    "content": "Photovoltaic modules turn sunlight into electricity. An inverter feeds the current into the grid.",
    "tags": ["energy", "roof"],
    "external_id": "solar",
}
BREAD = {
    "title": "Sourdough bread",
    "content": "Flour, water and salt ferment overnight. The loaf is baked in a hot oven until the crust is brown.",
    "tags": ["food"],
    "metadata": {"kind": "recipe"},
    "external_id": "bread",
}
CAFE = {
    "title": "The café in Zürich",
    "content": "A quiet café near the lake serves espresso and a naïve kind of cake.",
    "tags": ["food", "travel"],
    "source_url": "https://example.org/cafe",
    "external_id": "cafe",
}
ITEMS = [SOLAR, BREAD, CAFE]

Fill = Callable[..., list[ItemResult]]


def index_all(pack: KnowledgePack) -> None:
    """What an index worker does after the nudge."""
    while indexing.index_once(pack.pk):
        pass


@pytest.fixture
def pack(user: User) -> KnowledgePack:
    return services.create_pack(user, name="Notes", description="Things worth knowing", tags=["mixed"])


@pytest.fixture
def fill(pack: KnowledgePack, user: User) -> Fill:
    """Add entries (the three above by default) and, unless told otherwise, index them."""

    def add(items: Sequence[Any] = ITEMS, *, index: bool = True) -> list[ItemResult]:
        results = services.add_entries(pack, user, items)
        if index:
            index_all(pack)
        pack.refresh_from_db()
        return results

    return add


@pytest.fixture
def no_job_left() -> Iterator[None]:
    """The sweeper of another test would find jobs that are not done."""
    yield
    nudge.client().delete(bulk_jobs.RUNNING)
