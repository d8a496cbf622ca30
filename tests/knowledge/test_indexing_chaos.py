"""Index workers that are really killed: every entry gets ready, and a space that was being filled is filled."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.utils import timezone

from accounts.models import User
from bench.indexing import made_up
from knowledge import services
from knowledge.models import EmbeddingSpace, Entry, KnowledgePack, Passage, PassageVector
from tests.knowledge.conftest import index_all
from tests.knowledge.embedding_server import EmbeddingServer
from tests.support.stack import LiveStack

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.chaos,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("live"),
]

RECOVERY_S = 180  # two leases of 5 s here (30 as shipped), two sweeps, and the work itself on a busy machine


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)


def ready() -> int:
    return Entry.objects.filter(index_status="ready").count()


def test_entries_get_ready_although_the_worker_is_killed_twice(pack: KnowledgePack, user: User, tmp_path: Path) -> None:
    entries = made_up(1500)
    with LiveStack(tmp_path, env={"INDEX_LEASE_S": "5"}) as stack:
        for first in range(0, len(entries), 500):
            services.add_entries(pack, user, entries[first : first + 500])
        for enough in (1, 600):
            until(lambda: ready() >= enough, RECOVERY_S, f"{enough} ready")  # noqa: B023  # called at once
            stack.kill_worker("index")
            stack.start_worker("index")
        until(lambda: ready() == len(entries), RECOVERY_S, "all ready")
    assert not Entry.objects.filter(index_status="failed").exists()
    assert PassageVector.objects.count() == Passage.objects.count()
    pack.refresh_from_db()
    assert list(pack.events.order_by("seq").values_list("seq", flat=True)) == list(range(1, pack.last_seq + 1))


def test_a_space_is_filled_although_the_worker_is_killed(pack: KnowledgePack, user: User, tmp_path: Path) -> None:
    services.add_entries(pack, user, made_up(1200)[:400])
    index_all(pack)
    with EmbeddingServer() as server:
        server.delay = 0.5
        services.create_embedding_model(name="other", base_url=server.url, model="other", dimension=8, batch_size=16)
        with LiveStack(tmp_path, env={"INDEX_LEASE_S": "5"}) as stack:
            services.choose_embedding(pack.pk, "other")
            until(lambda: PassageVector.objects.filter(space__state="future").exists(), 60, "the first batch")
            stack.kill_worker("index")
            EmbeddingSpace.objects.filter(state="future").update(lease_expires_at=timezone.now())  # the 30 s are over
            server.delay = 0.0
            stack.start_worker("index")
            until(lambda: EmbeddingSpace.objects.get(state="present").model == "other", 90, "the change")
            until(lambda: not EmbeddingSpace.objects.filter(state="past").exists(), 60, "the end of the past")
    assert PassageVector.objects.count() == Passage.objects.count()
    assert len(server.texts) < 2 * Passage.objects.count()  # it did not begin again
