"""Claims, leases, fencing and failures of the index workers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from knowledge import embeddings, indexing, minilm, services, tasks
from knowledge.embeddings import Vector
from knowledge.errors import EmbeddingError
from knowledge.indexing import Claim, Origin, Outcome
from knowledge.models import Entry, KnowledgePack, PassageVector
from realtime import nudge
from tests.knowledge.conftest import BREAD, SOLAR, Fill, index_all


class Scripted:
    """A deterministic embedder of four dimensions that fails on demand: an adapter of its own."""

    model = "scripted"
    dimension = 4

    def __init__(self, poison: str = "", *, permanent: bool = True) -> None:
        self.poison = poison
        self.permanent = permanent
        self.batches: list[int] = []

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        self.batches.append(len(texts))
        if self.poison and any(self.poison in text for text in texts):
            raise EmbeddingError("this text is too much for me", permanent=self.permanent)
        return [np.array([1, len(text), 0, 0], dtype=np.float32) for text in texts]

    def embed_query(self, text: str) -> Vector:
        return self.embed_passages([text])[0]


def run_once(pack: KnowledgePack, embedder: Scripted) -> int:
    return indexing.finish(pack.pk, Origin(embedder.model), indexing.embed(embedder, indexing.claim(pack.pk)))


def expire(entry_id: UUID) -> None:
    Entry.objects.filter(pk=entry_id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def event_types(pack: KnowledgePack) -> list[str]:
    return list(pack.events.order_by("seq").values_list("type", flat=True))


def test_indexing_makes_entries_ready_and_the_draft_active(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    assert set(Entry.objects.values_list("index_status", flat=True)) == {"ready"}
    assert PassageVector.objects.count() == pack.passage_count == 3
    assert pack.status == "active"
    assert event_types(pack)[4:] == ["entry.indexing"] * 3 + ["entry.indexed"] * 3
    assert pack.events.order_by("seq").last().payload["pack"]["status"] == "active"  # type: ignore[union-attr]  # just counted


def test_the_task_does_the_same(fill: Fill, pack: KnowledgePack) -> None:
    fill(index=False)
    tasks.index_pack(str(pack.pk))
    tasks.index_pack(str(pack.pk))  # a second nudge finds nothing to do
    assert Entry.objects.filter(index_status="ready", attempt=1).count() == 3


def test_one_entry_can_be_indexed_alone(fill: Fill) -> None:
    first, _, _ = fill(index=False)
    assert first.entry
    tasks.index_entry(str(first.entry.pk))
    assert list(Entry.objects.filter(index_status="ready").values_list("pk", flat=True)) == [first.entry.pk]


def test_a_claim_takes_about_a_batch_of_passages(pack: KnowledgePack, fill: Fill) -> None:
    long = "\n\n".join(f"Paragraph {i}: " + "word " * 100 for i in range(60))
    fill([{"title": f"Long {i}", "content": long} for i in range(24)], index=False)
    claims = indexing.claim(pack.pk)
    sizes = [len(claim.passages) for claim in claims]
    assert sum(sizes[:-1]) < indexing.BATCH_PASSAGES <= sum(sizes)
    embedder = Scripted()
    indexing.embed(embedder, claims)
    assert max(embedder.batches) <= embeddings.SLICE


def test_passages_are_embedded_under_pack_title_and_section(pack: KnowledgePack, fill: Fill) -> None:
    fill([{"title": "Guide", "content": "## Setup\n\nInstall it."}], index=False)
    ((_, text),) = indexing.claim(pack.pk)[0].passages
    assert text == "Notes › Guide › Setup\n## Setup\n\nInstall it."


# --- Dead workers and fencing ---------------------------------------------------------------------------------------


def test_a_leased_entry_is_nobody_elses(fill: Fill, pack: KnowledgePack) -> None:
    fill(index=False)
    assert len(indexing.claim(pack.pk)) == 3
    assert indexing.claim(pack.pk) == []
    assert indexing.packs_with_work(timezone.now()) == []


def test_the_entry_of_a_dead_worker_is_picked_up_again(fill: Fill, pack: KnowledgePack) -> None:
    fill([SOLAR], index=False)
    (dead,) = indexing.claim(pack.pk)
    expire(dead.entry_id)
    assert indexing.packs_with_work(timezone.now()) == [pack.pk]
    assert run_once(pack, Scripted()) == 1
    entry = Entry.objects.get()
    assert (entry.index_status, entry.attempt, entry.lease_token) == ("ready", 2, dead.token + 1)


def test_a_worker_whose_lease_was_taken_over_writes_nothing(fill: Fill, pack: KnowledgePack) -> None:
    fill([SOLAR], index=False)
    embedder = Scripted()
    slow = indexing.embed(embedder, indexing.claim(pack.pk))
    expire(slow[0].claim.entry_id)
    (fresh,) = indexing.claim(pack.pk)
    assert indexing.finish(pack.pk, Origin(embedder.model), slow) == 0
    assert not PassageVector.objects.exists()
    assert Entry.objects.get().index_status == "indexing"
    assert indexing.finish(pack.pk, Origin(embedder.model), indexing.embed(embedder, [fresh])) == 1


def test_a_revision_fences_off_the_worker_of_the_old_text(fill: Fill, pack: KnowledgePack, user: User) -> None:
    (result,) = fill([SOLAR], index=False)
    assert result.entry
    embedder = Scripted()
    outcomes = indexing.embed(embedder, indexing.claim(pack.pk))
    services.revise_entry(result.entry.pk, user, {"content": "New words."})
    assert indexing.finish(pack.pk, Origin(embedder.model), outcomes) == 0
    assert run_once(pack, embedder) == 1
    assert PassageVector.objects.get().passage.text == "New words."


def test_a_deletion_fences_off_the_worker(fill: Fill, pack: KnowledgePack) -> None:
    (result,) = fill([SOLAR], index=False)
    assert result.entry
    embedder = Scripted()
    outcomes = indexing.embed(embedder, indexing.claim(pack.pk))
    services.delete_entry(result.entry.pk)
    assert indexing.finish(pack.pk, Origin(embedder.model), outcomes) == 0
    assert not PassageVector.objects.exists()


def test_leases_are_renewed_while_the_work_goes_on(fill: Fill, pack: KnowledgePack) -> None:
    fill([SOLAR], index=False)
    (claim,) = indexing.claim(pack.pk)
    expire(claim.entry_id)
    indexing.renew([claim, Claim(claim.entry_id, claim.token + 7, ())])
    assert Entry.objects.get().lease_expires_at > timezone.now()  # type: ignore[operator]  # set while indexing
    expire(claim.entry_id)
    indexing.renew([Claim(claim.entry_id, claim.token - 1, ())])
    assert Entry.objects.get().lease_expires_at < timezone.now()  # type: ignore[operator]  # not ours: not renewed


def test_an_entry_that_kills_its_worker_fails_in_the_end(fill: Fill, pack: KnowledgePack) -> None:
    fill([SOLAR], index=False)
    for _ in range(indexing.MAX_ATTEMPTS):
        (claim,) = indexing.claim(pack.pk)
        expire(claim.entry_id)
    assert indexing.claim(pack.pk) == []
    entry = Entry.objects.get()
    assert (entry.index_status, entry.index_error) == ("failed", "the worker died each time it indexed this entry")


@pytest.mark.django_db(transaction=True)
def test_two_workers_never_claim_the_same_entry(pack: KnowledgePack, user: User) -> None:
    services.add_entries(pack, user, [{"title": f"Entry {i}", "content": "word " * 6000} for i in range(12)])
    claimed: list[object] = []
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        while claims := indexing.claim(pack.pk):
            claimed.extend(claim.entry_id for claim in claims)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 12


@pytest.mark.django_db(transaction=True)
def test_writers_and_workers_of_one_pack_do_not_deadlock(pack: KnowledgePack, user: User) -> None:
    errors: list[BaseException] = []
    embedder = Scripted()

    def write(number: int) -> None:
        for round_ in range(8):
            items = [
                {"title": f"t{i}", "content": f"shared words {round_} {number}", "external_id": f"e{i}"}
                for i in range(6)
            ]
            services.add_entries(pack, user, items[:: 1 if number % 2 else -1])

    def index(_: int) -> None:
        for _round in range(12):
            run_once(pack, embedder)

    def guarded(job: object, number: int) -> None:
        try:
            job(number)  # type: ignore[operator]  # one of the two above
        except BaseException as error:  # noqa: BLE001  # reported below
            errors.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=guarded, args=(job, n)) for n, job in enumerate([write, write, write, index, index])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    pack.refresh_from_db()
    assert pack.entry_count == 6
    assert list(pack.events.order_by("seq").values_list("seq", flat=True)) == list(range(1, pack.last_seq + 1))


# --- Failures -------------------------------------------------------------------------------------------------------


def test_a_poisonous_text_does_not_fail_its_neighbours(fill: Fill, pack: KnowledgePack) -> None:
    fill(index=False)
    run_once(pack, Scripted("ferment"))
    assert dict(Entry.objects.values_list("external_id", "index_status")) == {
        "solar": "ready", "bread": "failed", "cafe": "ready",
    }  # fmt: skip
    assert Entry.objects.get(external_id="bread").index_error == "this text is too much for me"


def test_a_passing_failure_waits_longer_each_time_and_gives_up_at_last(fill: Fill, pack: KnowledgePack) -> None:
    fill([BREAD], index=False)
    embedder = Scripted("ferment", permanent=False)
    pauses = []
    for _ in range(indexing.MAX_ATTEMPTS):
        run_once(pack, embedder)
        entry = Entry.objects.get()
        if entry.index_status == "pending" and entry.available_at:
            pauses.append(round((entry.available_at - timezone.now()).total_seconds()))
            assert indexing.claim(pack.pk) == []
        Entry.objects.update(available_at=None)
    assert pauses == [2, 4, 8, 16]
    assert Entry.objects.get().index_status == "failed"


def test_a_model_that_is_not_there_fails_entries_with_the_reason(
    fill: Fill, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill([BREAD], index=False)
    monkeypatch.setattr(minilm, "_PACKAGE", "not_installed_anywhere")
    minilm.tokenizer.cache_clear()
    embeddings._built_in.cache_clear()
    assert indexing.index_once(pack.pk) == 1
    entry = Entry.objects.get()
    assert entry.index_status == "failed"
    assert "weights are not installed" in entry.index_error


def test_vectors_of_different_dimensions_are_refused(fill: Fill, pack: KnowledgePack) -> None:
    fill([SOLAR], index=False)

    class Crooked(Scripted):
        def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
            return [np.ones(3 + i, dtype=np.float32) for i in range(len(texts))]

    claims = indexing.claim(pack.pk)
    doubled = [Claim(claim.entry_id, claim.token, claim.passages * 2) for claim in claims]
    (outcome,) = indexing.embed(Crooked(), doubled)
    assert outcome.error
    assert outcome.error.permanent


def test_a_failed_entry_can_be_queued_again_by_hand(fill: Fill, pack: KnowledgePack) -> None:
    (result,) = fill([BREAD], index=False)
    assert result.entry
    run_once(pack, Scripted("ferment"))
    services.retry_indexing(result.entry.pk)
    assert run_once(pack, Scripted()) == 1
    assert event_types(pack)[-4:] == ["entry.failed", "entry.queued", "entry.indexing", "entry.indexed"]


def test_a_finish_that_fails_changes_nothing(fill: Fill, pack: KnowledgePack) -> None:
    fill([SOLAR], index=False)
    (claim,) = indexing.claim(pack.pk)
    before = pack.events.count()
    vector = np.ones(4, dtype=np.float32)
    too_many = Outcome(claim, vectors=[vector] * (len(claim.passages) + 1))
    with pytest.raises(ValueError, match="zip"), transaction.atomic():
        indexing.finish(pack.pk, Origin(Scripted.model), [too_many])
    assert pack.events.count() == before
    assert not PassageVector.objects.exists()


# --- Spaces, sweeping -----------------------------------------------------------------------------------------------


def test_vectors_of_another_model_than_the_searched_one_are_not_stored(fill: Fill, pack: KnowledgePack) -> None:
    fill([SOLAR])
    fill([BREAD], index=False)
    assert run_once(pack, Scripted()) == 1
    assert PassageVector.objects.count() == 1
    entry = Entry.objects.get(external_id="bread")
    assert (entry.index_status, entry.attempt, entry.lease_expires_at) == ("pending", 0, None)
    index_all(pack)
    assert PassageVector.objects.count() == 2


def test_only_what_has_no_vector_yet_is_embedded(fill: Fill, pack: KnowledgePack) -> None:
    fill([SOLAR])
    indexing.queue_again(pack, Entry.objects.all())
    (claim,) = indexing.claim(pack.pk)
    assert claim.passages == ()
    assert indexing.finish(pack.pk, Origin("any"), indexing.embed(Scripted(), [claim])) == 1
    assert Entry.objects.get().index_status == "ready"


def test_a_change_of_language_leaves_the_vectors_alone(fill: Fill, pack: KnowledgePack) -> None:
    fill()
    before = list(PassageVector.objects.order_by("pk").values_list("passage", flat=True))
    services.update_pack(pack.pk, {"language": "german"})
    assert not Entry.objects.exclude(index_status="ready").exists()
    assert list(PassageVector.objects.order_by("pk").values_list("passage", flat=True)) == before


def test_the_sweeper_wakes_packs_with_work(fill: Fill, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(index=False)
    sent: list[tuple[str, list[str], str]] = []
    monkeypatch.setattr(nudge, "send_task", lambda name, args, queue, **_: sent.append((name, list(args), queue)))
    tasks.sweep()
    assert sent == [("knowledge.tasks.index_pack", [str(pack.pk)], "index")]
    indexing.claim(pack.pk)
    tasks.sweep()
    assert len(sent) == 1


def test_a_deleted_pack_is_left_alone(fill: Fill, pack: KnowledgePack) -> None:
    fill(index=False)
    services.delete_pack(pack.pk)
    assert indexing.packs_with_work(timezone.now()) == []
    tasks.index_pack(str(pack.pk))
    assert Entry.objects.filter(index_status="pending").count() == 3


def test_a_pack_that_does_not_exist_ends_the_task_quietly(db: None) -> None:
    tasks.index_pack("01890000-0000-7000-8000-000000000000")
    tasks.index_entry("01890000-0000-7000-8000-000000000000")
