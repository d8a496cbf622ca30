"""New BM25 weights for large packs, made in slices beside writers."""

from __future__ import annotations

import threading
import time
from uuid import UUID

import pytest
from django.db import connection, transaction

from accounts.models import User
from bench.indexing import made_up
from knowledge import advisory, passages, reweighing, services, tasks, words
from knowledge.models import EntryLexical, KnowledgePack, PassageLexical
from realtime import nudge
from tests.knowledge.conftest import Fill

COUNT = 160


@pytest.fixture
def large(fill: Fill, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch) -> KnowledgePack:
    """A pack whose new weights are a task's work, and whose averages are about to drift."""
    fill(made_up(COUNT), index=False)
    monkeypatch.setattr(passages, "REWEIGH_AT_ONCE", 10)
    monkeypatch.setattr(reweighing, "FIRST", 10)
    monkeypatch.setattr(reweighing, "MOST", 10)
    return pack


def drift(pack: KnowledgePack, user: User, number: int = 0, words_each: int = 600) -> None:
    """Longer entries than the others by far, so that the averages move."""
    long = [
        {"title": f"Long {number}.{i}", "content": f"pump {number} " * (words_each // 2) + str(i)} for i in range(20)
    ]
    services.add_entries(pack, user, long)


def weights() -> dict[object, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT passage_id, bm::text FROM knowledge_passagelexical")
        rows = dict(cursor.fetchall())
        cursor.execute("SELECT revision_id, bm::text FROM knowledge_entrylexical")
        return {**rows, **dict(cursor.fetchall())}


def assert_fresh(pack: KnowledgePack) -> None:
    """The weights are those of averages that are not 5 % off, every one of them."""
    pack.refresh_from_db()
    found = weights()
    assert len(found) == PassageLexical.objects.count() + EntryLexical.objects.count()
    assert pack.reweigh_cursor is None
    assert not words.drifted(pack)
    words.reweigh(pack)
    assert weights() == found


def test_a_writer_leaves_the_weights_of_a_large_pack_to_a_task(large: KnowledgePack, user: User) -> None:
    before = weights()
    drift(large, user)
    large.refresh_from_db()
    assert large.reweigh_cursor == words.BEFORE_ALL
    assert before.items() <= weights().items()
    assert reweighing.packs_with_work() == [large.pk]
    tasks.reweigh_pack(str(large.pk))
    assert reweighing.packs_with_work() == []
    assert_fresh(large)
    assert not before.items() <= weights().items()


def test_writers_get_in_between_the_slices_and_leave_no_stale_weight(
    transactional_db: None, large: KnowledgePack, user: User
) -> None:
    """Two connections: a worker at the weights, and a writer who adds, revises and deletes, and moves the averages again."""
    drift(large, user)
    thread = threading.Thread(target=work_apart, args=[large])
    thread.start()
    waits, between = [], 0
    entries = list(large.entries.order_by("pk").values_list("pk", flat=True))
    for turn, entry in enumerate(entries[:COUNT:4]):
        if not thread.is_alive():
            break
        began = time.monotonic()
        with transaction.atomic():
            services.locked_pack(large.pk)
            waits.append(time.monotonic() - began)
        if turn == 5:
            drift(large, user, turn, 1500)
        elif turn % 2:
            services.delete_entry(entry)
        else:
            services.revise_entry(entry, user, {"content": f"the pump was changed in turn {turn}"})
        between += KnowledgePack.objects.filter(pk=large.pk, reweigh_cursor__gt=words.BEFORE_ALL).exists()
    thread.join()
    assert between >= 5, "no writer came in between"
    assert max(waits) < 1
    assert_fresh(large)


def test_a_slice_of_a_pass_that_is_over_changes_nothing(
    large: KnowledgePack, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer moves the averages between the choice of a slice and its lock."""
    drift(large, user)
    calls: list[int] = []
    beyond = reweighing._beyond

    def beside_a_writer(pack: KnowledgePack, count: int) -> list[UUID]:
        found = beyond(pack, count)
        calls.append(len(found))
        if len(calls) == 4:
            drift(large, user, 1, 1500)
        return found

    monkeypatch.setattr(reweighing, "_beyond", beside_a_writer)
    reweighing.work(large.pk)
    assert sum(calls) > PassageLexical.objects.count()
    assert_fresh(large)


def work_apart(pack: KnowledgePack) -> None:
    try:
        reweighing.work(pack.pk)
    finally:
        connection.close()


def test_another_worker_goes_on_where_one_has_died(
    large: KnowledgePack, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    drift(large, user)
    done: list[int] = []
    reweigh = words.reweigh

    def dying(pack: KnowledgePack, some: list[object]) -> None:
        if len(done) == 3:
            raise SystemExit
        done.append(len(some))
        reweigh(pack, some)  # type: ignore[arg-type]  # ids

    with monkeypatch.context() as patched:
        patched.setattr(words, "reweigh", dying)
        with pytest.raises(SystemExit):
            reweighing.work(large.pk)
    sent: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(nudge, "send_task", lambda name, args, queue, **_: sent.append((name, list(args))))
    tasks.sweep()
    assert ("knowledge.tasks.reweigh_pack", [str(large.pk)]) in sent
    large.refresh_from_db()
    assert PassageLexical.objects.filter(passage__lte=large.reweigh_cursor).count() == sum(done)
    tasks.reweigh_pack(str(large.pk))
    assert_fresh(large)


def test_only_one_worker_is_at_a_pack(transactional_db: None, large: KnowledgePack, user: User) -> None:
    drift(large, user)
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with advisory.alone(advisory.REWEIGHING, large.pk.int & 0x7FFFFFFF) as ours:
                assert ours
                taken.set()
                done.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(10)
    try:
        assert reweighing.work(large.pk) is False
        assert KnowledgePack.objects.filter(reweigh_cursor=words.BEFORE_ALL).exists()
    finally:
        done.set()
        thread.join()
