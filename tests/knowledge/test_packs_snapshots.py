"""Publishing, what it keeps of entries that go on, and copies."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from accounts.models import User
from knowledge import batch, passages, retention, services
from knowledge.models import (
    Entry,
    Evaluation,
    KnowledgePack,
    Passage,
    PassageLexical,
    PassageVector,
    Snapshot,
    SnapshotTerm,
    TermStats,
)
from knowledge.search import search
from knowledge.services import locking
from knowledge.words import pack_mark, retired_mark
from tests.conftest import Api
from tests.knowledge.conftest import BREAD, ITEMS, Fill, index_all
from tests.knowledge.test_api_packs import problem, url

ON = {"title": "Sourdough bread", "content": "Rye only now."}


def bread(pack: KnowledgePack) -> Entry:
    return Entry.objects.get(pack=pack, external_id="bread")


def terms(pack: KnowledgePack) -> dict[str, int]:
    return dict(TermStats.objects.filter(pack=pack).values_list("lexeme", "df"))


def state(pack: KnowledgePack) -> tuple[dict[str, int], int, int]:
    pack.refresh_from_db()
    return terms(pack), pack.passage_count, pack.passage_length


def marked(pack: KnowledgePack, mark: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM knowledge_passagelexical WHERE tsv @@ %s::tsquery AND pack_id = %s",
            [f"'{mark}'", pack.pk],
        )
        return int(cursor.fetchone()[0])


@pytest.fixture
def published(pack: KnowledgePack, fill: Fill) -> Snapshot:
    fill()
    return services.publish(pack.pk, None, "v1")


def test_publishing_keeps_revisions_statistics_and_a_hash(api: Api, pack: KnowledgePack, fill: Fill) -> None:
    fill()
    made = api.post(f"{url(pack)}/snapshots", {"label": "v1", "note": "first"})
    assert made.status_code == 201
    shown = api.get(f"{url(pack)}/snapshots/{made.json()['id']}").json()
    assert [entry["title"] for entry in shown["entries"]][1] == BREAD["title"]
    assert (shown["entry_count"], shown["passage_count"]) == (3, 3)
    assert len(shown["content_hash"]) == 64
    assert dict(SnapshotTerm.objects.values_list("lexeme", "df")) == terms(pack)
    assert len(api.get(f"{url(pack)}/snapshots").json()["results"]) == 1
    problem(api.post(f"{url(pack)}/snapshots", {"label": "v1"}), 409, "label_taken")


def test_what_is_not_indexed_is_not_published(api: Api, pack: KnowledgePack, fill: Fill) -> None:
    problem(api.post(f"{url(pack)}/snapshots", {"label": "v1"}), 409, "nothing_to_publish")
    fill(index=False)
    refusal = problem(api.post(f"{url(pack)}/snapshots", {"label": "v1"}), 409, "not_indexed")
    assert "3 of 3" in refusal["detail"]


def test_a_gate_asks_for_an_evaluation_of_this_very_state(api: Api, pack: KnowledgePack, fill: Fill) -> None:
    fill()
    assert api.patch(url(pack), {"gate_publishing": 0.8}).status_code == 200
    problem(api.post(f"{url(pack)}/snapshots", {"label": "v1"}), 409, "gate_not_evaluated")
    pack.refresh_from_db()

    def evaluate(ndcg: float) -> None:
        Evaluation.objects.create(
            pack=pack, mode="hybrid", index_epoch=pack.index_epoch, questions=1, ndcg_10=ndcg, recall_10=1, mrr=1
        )

    evaluate(0.7)
    problem(api.post(f"{url(pack)}/snapshots", {"label": "v1"}), 409, "gate_failed")
    evaluate(0.8)
    assert api.post(f"{url(pack)}/snapshots", {"label": "v1"}).status_code == 201


@pytest.mark.parametrize("change", ["revise", "delete"])
def test_pinned_passages_are_retired_and_statistics_are_as_without_them(
    pack: KnowledgePack, user: User, fill: Fill, change: str
) -> None:
    fill()
    twin = services.create_pack(user, name="Twin")
    services.add_entries(twin, user, ITEMS)
    index_all(twin)
    services.publish(pack.pk, None, "v1")
    for one in (pack, twin):
        if change == "revise":
            services.revise_entry(bread(one).pk, user, ON)
        else:
            services.delete_entry(bread(one).pk)
        index_all(one)
    assert state(pack) == state(twin)
    assert (marked(pack, retired_mark(pack.pk)), marked(twin, retired_mark(twin.pk))) == (1, 0)
    assert marked(pack, pack_mark(pack.pk)) == marked(twin, pack_mark(twin.pk))
    retired = Passage.objects.get(lexical__live=False)
    assert [vector.live for vector in PassageVector.objects.filter(passage=retired)] == [False]
    found = search([pack], "flour water salt ferment").hits
    assert retired.pk not in {hit.passage_id for hit in found}


def test_revising_again_leaves_what_was_retired(pack: KnowledgePack, user: User, published: Snapshot) -> None:
    for text in ("Second.", "Third.", "Fourth."):
        services.revise_entry(bread(pack).pk, user, {"content": text})
        index_all(pack)
    assert PassageLexical.objects.filter(live=False).count() == 1
    assert Passage.objects.count() == 4
    assert TermStats.objects.filter(pack=pack, lexeme="third").count() == 0


@pytest.mark.forges
def test_a_pinned_revision_can_be_the_entrys_own_again(pack: KnowledgePack, user: User, published: Snapshot) -> None:
    """As a restore from the trash does: the very same revision, whose passages are there already."""
    before = state(pack)
    entry = bread(pack)
    services.delete_entry(entry.pk)
    with transaction.atomic():
        locked = locking.locked_pack(pack.pk)
        entry.refresh_from_db()
        entry.deleted_at = None
        batch.requeue(entry)
        entry.save()
        locked.entry_count += 1
        passages.store(locked, [passages.Piece(entry, entry.revision, passages.cut(entry.revision.content))])
        locking.after_words_changed(locked)
    index_all(pack)
    assert state(pack) == before
    assert not PassageLexical.objects.filter(live=False).exists()
    assert not PassageVector.objects.filter(live=False).exists()
    assert "Sourdough bread" in {hit.title for hit in search([pack], "flour salt").hits}


def test_a_change_of_language_keeps_both_marks(pack: KnowledgePack, user: User, published: Snapshot) -> None:
    services.revise_entry(bread(pack).pk, user, ON)
    index_all(pack)
    services.update_pack(pack.pk, {"language": "simple"})
    assert (marked(pack, retired_mark(pack.pk)), marked(pack, pack_mark(pack.pk))) == (1, 3)
    assert SnapshotTerm.objects.filter(snapshot=published, lexeme="overnight").exists()
    assert "overnight" not in terms(pack)


def test_deleting_the_last_pin_drops_what_nothing_shows(
    api: Api, pack: KnowledgePack, user: User, published: Snapshot
) -> None:
    second = services.publish(pack.pk, None, "v2")
    services.revise_entry(bread(pack).pk, user, ON)
    index_all(pack)
    assert api.delete(f"{url(pack)}/snapshots/{published.pk}").status_code == 204
    assert (Passage.objects.count(), SnapshotTerm.objects.filter(snapshot=published.pk).count()) == (4, 0)
    assert api.delete(f"{url(pack)}/snapshots/{second.pk}").status_code == 204
    counts = (Passage.objects.count(), PassageLexical.objects.count(), PassageVector.objects.count())
    assert counts == (3, 3, 3)
    assert search([pack], "rye").hits


def test_a_fork_has_the_entries_with_their_vectors_and_is_the_callers(
    other_api: Api, other_user: User, pack: KnowledgePack, fill: Fill
) -> None:
    fill()
    services.share(pack.pk, None, other_user.email, "viewer")
    made = other_api.post(f"{url(pack)}/fork", {"name": "My notes"})
    assert made.status_code == 201
    body = made.json()
    assert (body["name"], body["role"], body["status"], body["entry_count"]) == ("My notes", "owner", "active", 3)
    copy = KnowledgePack.objects.get(pk=body["id"])
    assert copy.forked_from_id == pack.pk
    assert state(copy) == state(pack)

    def facts(one: KnowledgePack) -> list[tuple[Any, ...]]:
        columns = ("title", "tags", "metadata", "external_id", "ordinal", "content_hash", "index_status")
        return list(Entry.objects.filter(pack=one).order_by("ordinal").values_list(*columns))

    assert facts(copy) == facts(pack)
    assert PassageVector.objects.filter(pack=copy, live=True).count() == 3
    hit = search([copy], "flour and water").hits[0]
    assert (hit.title, hit.pack_id) == ("Sourdough bread", copy.pk)
    assert hit.semantic is not None


def test_a_fork_of_a_snapshot_has_what_it_pins(api: Api, pack: KnowledgePack, user: User, published: Snapshot) -> None:
    services.revise_entry(bread(pack).pk, user, ON)
    services.delete_entry(Entry.objects.get(pack=pack, external_id="cafe").pk)
    made = api.post(f"{url(pack)}/fork", {"name": "Then", "snapshot": "v1"})
    copy = KnowledgePack.objects.get(pk=made.json()["id"])
    assert Entry.objects.filter(pack=copy).count() == 3
    assert bread(copy).revision.content == BREAD["content"]
    assert set(Entry.objects.filter(pack=copy).values_list("index_status", flat=True)) == {"ready"}
    problem(api.post(f"{url(pack)}/fork", {"name": "Never", "snapshot": "v9"}), 404)


def test_an_entry_that_waits_is_copied_and_waits(api: Api, pack: KnowledgePack, fill: Fill) -> None:
    fill(index=False)
    copy = KnowledgePack.objects.get(pk=api.post(f"{url(pack)}/fork", {"name": "Copy"}).json()["id"])
    assert copy.status == "draft"
    index_all(copy)
    assert set(Entry.objects.filter(pack=copy).values_list("index_status", flat=True)) == {"ready"}


def test_stats_count_what_is_there(api: Api, pack: KnowledgePack, fill: Fill) -> None:
    fill()
    stats = api.get(f"{url(pack)}/stats").json()
    assert stats["entries"]["total"] == 3
    assert stats["entries"]["by_status"]["ready"] == 3
    assert stats["tags"][0] == {"tag": "food", "entries": 2}
    assert stats["languages"] == [{"language": "english", "entries": 3}]
    assert stats["bytes"]["vectors"] > 0
    assert stats["searches"]["zero_result_share"] is None


def test_terms_of_a_snapshot_can_be_counted_again(pack: KnowledgePack, published: Snapshot) -> None:
    before = dict(SnapshotTerm.objects.values_list("lexeme", "df"))
    retention.count_terms([published.pk])
    assert dict(SnapshotTerm.objects.values_list("lexeme", "df")) == before
