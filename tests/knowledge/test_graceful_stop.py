"""Index workers that are asked to stop: what they hold is given back, costs no attempt, and the next goes on with it at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from accounts.models import User
from knowledge import indexing, reweighing, services, spaces
from knowledge.imports import files
from knowledge.imports import job as imports_job
from knowledge.models import Entry, Import, KnowledgePack, Passage, PassageVector
from knowledge.services import imports as import_service
from knowledge.services import purging
from realtime import stopping
from tests.knowledge.conftest import BREAD, SOLAR, Fill, index_all
from tests.knowledge.embedding_server import EmbeddingServer
from tests.support.stack import LiveStack


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with EmbeddingServer() as server:
        yield server


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process were a worker that was asked to stop."""
    monkeypatch.setattr(stopping.process, "requested", True)


def wait(condition: str, seconds: float = 15) -> float:
    """Until a row of ``condition`` is there; the seconds that it took."""
    began = time.monotonic()
    while True:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT EXISTS ({condition})")
            if cursor.fetchone() == (True,):
                return time.monotonic() - began
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {condition}"
        time.sleep(0.02)


# --- In this process --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("told")
@pytest.mark.django_db
def test_indexing_gives_its_batch_back(pack: KnowledgePack, fill: Fill) -> None:
    fill(index=False)
    with pytest.raises(stopping.Stopping):
        indexing.index_once(pack.pk)
    assert set(Entry.objects.values_list("index_status", "attempt", "lease_expires_at")) == {("pending", 0, None)}
    pack.refresh_from_db()
    kinds = list(pack.events.order_by("seq").values_list("type", flat=True))
    assert kinds[-3:] == ["entry.queued"] * 3


@pytest.mark.django_db
def test_a_batch_that_somebody_else_has_is_left_alone(pack: KnowledgePack, fill: Fill) -> None:
    fill(index=False)
    mine = indexing.claim(pack.pk)
    Entry.objects.update(lease_expires_at=timezone.now() - indexing.LEASE)
    theirs = indexing.claim(pack.pk)
    indexing.give_back(pack.pk, mine)
    assert {claim.token for claim in theirs} == {claim.token + 1 for claim in mine}
    assert set(Entry.objects.values_list("index_status", "attempt")) == {("indexing", 2)}


@pytest.mark.django_db
def test_a_space_is_given_back(
    pack: KnowledgePack, fill: Fill, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    services.create_embedding_model(name="other", base_url=server.url, model="other", dimension=8)
    services.choose_embedding(pack.pk, "other")
    monkeypatch.setattr(stopping.process, "requested", True)
    with pytest.raises(stopping.Stopping):
        spaces.work(pack.pk, time.monotonic() + 60)
    monkeypatch.undo()
    space = pack.spaces.get(state="future")
    assert (space.lease_expires_at, space.attempt) == (None, 0)
    while spaces.work(pack.pk, time.monotonic() + 60):
        pass
    assert spaces.present_space(pack.pk) == space


@pytest.mark.django_db(transaction=True)
def test_long_work_ends_after_the_present_batch(
    pack: KnowledgePack, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    monkeypatch.setattr(stopping.process, "requested", True)
    KnowledgePack.objects.update(reweigh_cursor=Passage.objects.order_by("pk")[0].pk)
    assert reweighing.work(pack.pk) is True
    KnowledgePack.objects.update(status="deleted", deleted_at=timezone.now() - timedelta(days=400))
    assert purging.purge(pack.pk) is True
    assert KnowledgePack.objects.exists()


@pytest.mark.usefixtures("told")
@pytest.mark.django_db(transaction=True)
def test_an_import_is_given_back(pack: KnowledgePack, user: User, settings: LazySettings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    job = queue_lines(pack, user, 20)
    with pytest.raises(stopping.Stopping):
        imports_job.run(job.pk)
    job.refresh_from_db()
    assert (job.status, job.attempt, job.lease_expires_at) == ("reading", 0, None)
    assert imports_job.with_work(timezone.now()) == [job.pk]


# --- Real workers -----------------------------------------------------------------------------------------------------


def queue_lines(pack: KnowledgePack, user: User, count: int) -> Import:
    stored, file = files.create()
    with file:
        file.write(b"title,content\n")
        file.writelines(f"Line {n},What line {n} has to say about matter {n * 7}\n".encode() for n in range(count))
    return import_service.create_import(pack, user, path=stored, filename="lines.csv", size=1, on_duplicate="fail")


@pytest.mark.chaos
@pytest.mark.xdist_group("live")
@pytest.mark.django_db(transaction=True)
def test_workers_that_are_told_to_stop_leave_their_work_to_the_next(
    pack: KnowledgePack, user: User, settings: LazySettings, tmp_path: Path, server: EmbeddingServer
) -> None:
    """Without beat: nothing but what the first sends on can wake the second, and no lease can have run out."""
    settings.DATA_DIR = tmp_path
    env = {"EMBEDDING_BASE_URL": server.url, "EMBEDDING_MODEL": "slow", "QUORUM_DATA_DIR": str(tmp_path)}
    with LiveStack(tmp_path, only=["index"], env=env) as stack:
        server.delay = 5.0  # longer than anybody waits for a worker that is to end
        services.add_entries(pack, user, [SOLAR, BREAD])
        wait("SELECT 1 FROM knowledge_entry WHERE index_status = 'indexing'")
        told = time.monotonic()
        stack.tell("index")
        wait("SELECT 1 FROM knowledge_entry HAVING bool_and(index_status = 'pending' AND attempt = 0)")
        assert time.monotonic() - told < 2
        stack.wait_ended("index")
        assert time.monotonic() - told < 4

        server.delay = 0.0
        stack.start_worker("index")
        assert wait("SELECT 1 FROM knowledge_entry HAVING bool_and(index_status = 'ready')") < 5

        job = queue_lines(pack, user, 1500)
        wait("SELECT 1 FROM knowledge_importitem WHERE status = 'created'")
        told = time.monotonic()
        stack.tell("index")
        wait("SELECT 1 FROM knowledge_import WHERE lease_expires_at IS NULL")
        assert time.monotonic() - told < 2
        stack.wait_ended("index")
        job.refresh_from_db()
        assert (job.status, job.attempt) == ("writing", 0)
        stack.start_worker("index")
        wait("SELECT 1 FROM knowledge_import WHERE status = 'completed'", 30)
        wait("SELECT 1 FROM knowledge_entry HAVING bool_and(index_status = 'ready')", 30)
    assert Entry.objects.count() == job.items.filter(status="created").count() + 2 == 1502
    assert PassageVector.objects.count() == Passage.objects.count()
    index_all(pack)
    pack.refresh_from_db()
    assert list(pack.events.order_by("seq").values_list("seq", flat=True)) == list(range(1, pack.last_seq + 1))
