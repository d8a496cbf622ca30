"""Search over HTTP: several packs, filters, snapshots."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client

from accounts.models import User
from knowledge import services, words
from knowledge.models import Entry, KnowledgePack, Passage, PassageLexical, Snapshot, SnapshotEntry, SnapshotTerm
from knowledge.search import search
from tests.knowledge.conftest import BREAD, CAFE, SOLAR, Fill, index_all

ITEMS = [
    {
        **SOLAR,
        "metadata": {"year": 2019, "checked": True, "kind": "manual", "seen": "2026-01-31"},
        "source_url": "https://a.example/solar",
    },
    {**BREAD, "metadata": {"year": 2021.5, "checked": False, "kind": "recipe", "seen": "2026-03-01T10:00:00Z"}},
    {**CAFE, "metadata": {"kind": "place", "year": "unknown"}, "source_url": "https://b.example/cafe"},
]


@pytest.fixture
def http(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


def found(http: Client, pack: KnowledgePack, **params: Any) -> set[str]:
    reply = http.get(f"/api/knowledge-packs/{pack.pk}/entries/search", {"q": "electricity bread espresso", **params})
    assert reply.status_code == 200, reply.json()
    return {hit["entry"]["external_id"] for hit in reply.json()["results"]}


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"tag": "food"}, {"bread", "cafe"}),
    ({"tag": ["food", "travel"]}, {"cafe"}),
    ({"source": "https://a.example/"}, {"solar"}),
    ({"status": "ready"}, {"solar", "bread", "cafe"}),
    ({"status": "failed"}, set()),
    ({"created_after": "2000-01-01"}, {"solar", "bread", "cafe"}),
    ({"created_before": "2000-01-01T00:00:00Z"}, set()),
    ({"meta.kind": "recipe"}, {"bread"}),
    ({"meta.kind__ne": "recipe"}, {"solar", "cafe"}),
    ({"meta.kind__in": "recipe,manual"}, {"solar", "bread"}),
    ({"meta.year": "2019"}, {"solar"}),
    ({"meta.year__gt": "2019"}, {"bread"}),
    ({"meta.year__gte": "2019", "meta.year__lt": "2021.5"}, {"solar"}),
    ({"meta.checked": "true"}, {"solar"}),
    ({"meta.checked__ne": "true"}, {"bread", "cafe"}),
    ({"meta.seen__gt": "2026-01-31"}, {"bread"}),
    ({"meta.seen__lte": "2026-03-01"}, {"solar", "bread"}),
    ({"meta.kind__gte": "place"}, {"bread", "cafe"}),
    ({"meta.nothing": "x"}, set()),
    ({"meta.nothing__ne": "x"}, {"solar", "bread", "cafe"}),
    ({"min_score": "0.95"}, set()),
    ({"tag": "food", "meta.kind": "manual"}, set()),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["hybrid", "lexical", "semantic"])
def test_filters_hold_in_every_mode(http: Client, fill: Fill, pack: KnowledgePack, mode: str) -> None:
    fill(ITEMS)
    for params, expected in FILTERS:
        if "min_score" in params and mode == "lexical":
            continue  # the best lexical score is always 1
        assert (params, found(http, pack, mode=mode, **params)) == (params, expected)


BAD = [
    ("created_after", "yesterday"), ("created_before", "2026-13-45"), ("status", "sleeping"), ("min_score", "high"),
    ("limit", "101"), ("meta.year__near", "3"), ("source", "x" * 501), ("mode", "fuzzy"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD, ids=[name for name, _ in BAD])
def test_a_bad_parameter_is_named(http: Client, pack: KnowledgePack, name: str, value: str) -> None:
    reply = http.get(f"/api/knowledge-packs/{pack.pk}/entries/search", {"q": "x", name: value})
    assert (reply.status_code, reply["Content-Type"]) == (400, "application/problem+json")
    assert [error["pointer"] for error in reply.json()["errors"]] == [f"/{name}"]


def test_all_bad_filters_are_named_at_once(http: Client, pack: KnowledgePack) -> None:
    query = {"q": "x", "created_after": "?", "status": "?"}
    reply = http.get(f"/api/knowledge-packs/{pack.pk}/entries/search", query)
    assert {error["pointer"] for error in reply.json()["errors"]} == {"/created_after", "/status"}


def test_several_packs_are_searched_at_once(http: Client, fill: Fill, pack: KnowledgePack, user: User) -> None:
    fill([SOLAR])
    other = services.create_pack(user, name="Cuisine")
    services.add_entries(other, user, [BREAD])
    index_all(other)
    reply = http.get("/api/knowledge-packs/search", {"packs": f"{pack.pk},{other.pk}", "q": "bread and electricity"})
    assert {hit["pack"]["name"] for hit in reply.json()["results"]} == {"Notes", "Cuisine"}


def test_every_one_of_several_packs_must_be_readable(http: Client, pack: KnowledgePack) -> None:
    stranger = User.objects.create_user("stranger@example.org")
    secret = services.create_pack(stranger, name="Secret")
    assert http.get("/api/knowledge-packs/search", {"packs": f"{pack.pk},{secret.pk}", "q": "x"}).status_code == 404
    assert http.get("/api/knowledge-packs/search", {"q": "x"}).status_code == 400


def publish(pack: KnowledgePack, label: str) -> Snapshot:
    """A snapshot of what the pack says now, as publishing makes it."""
    entries = list(Entry.objects.filter(pack=pack, deleted_at=None))
    snapshot = Snapshot.objects.create(
        pack=pack, label=label, entry_count=len(entries), passage_count=pack.passage_count, content_hash="0" * 64
    )
    for place, entry in enumerate(entries):
        SnapshotEntry.objects.create(snapshot=snapshot, revision_id=entry.revision_id, entry=entry, ordinal=place)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO knowledge_snapshotterm (snapshot_id, lexeme, df)"
            " SELECT %s, lexeme, df FROM knowledge_termstats WHERE pack_id = %s",
            [snapshot.pk, pack.pk],
        )
    return snapshot


def retire(pack: KnowledgePack, entry: Entry) -> None:
    """What a revision of a pinned entry leaves behind: passages that are no longer live, under the other mark."""
    passages = Passage.objects.filter(entry=entry)
    new = entry.revisions.create(number=2, title="Wind", content="Turbines in the garden.", content_hash="1" * 64)
    Entry.objects.filter(pk=entry.pk).update(revision=new)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE knowledge_passagelexical SET live = false,"
            " tsv = ts_delete(tsv, %s::text) || array_to_tsvector(ARRAY[%s]) WHERE passage_id = ANY(%s)",
            [words.pack_mark(pack.pk), words.retired_mark(pack.pk), [passage.pk for passage in passages]],
        )
        cursor.execute(
            "UPDATE knowledge_passagevector SET live = false WHERE passage_id = ANY(%s)",
            [[passage.pk for passage in passages]],
        )


@pytest.mark.parametrize("mode", ["hybrid", "lexical", "semantic"])
def test_a_snapshot_is_searched_as_it_was(http: Client, fill: Fill, pack: KnowledgePack, mode: str) -> None:
    solar, bread, _ = fill(ITEMS)
    snapshot = publish(pack, "v1")
    fill([{"title": "Later", "content": "Electricity came later.", "external_id": "later"}])
    assert solar.entry
    assert bread.entry
    retire(pack, solar.entry)
    services.set_entry_enabled(bread.entry.pk, enabled=False)
    assert found(http, pack, mode=mode) == {"later", "cafe"}
    for name in ("v1", str(snapshot.pk)):
        assert found(http, pack, mode=mode, snapshot=name) == {"solar", "bread", "cafe"}
    assert http.get(f"/api/knowledge-packs/{pack.pk}/entries/search", {"q": "x", "snapshot": "v2"}).status_code == 404


def test_a_snapshot_has_its_own_statistics(fill: Fill, pack: KnowledgePack) -> None:
    fill(ITEMS)
    snapshot = publish(pack, "v1")
    before = search([pack], "electricity", mode="lexical").hits[0].lexical
    fill([{"title": f"More {i}", "content": f"More electricity, part {i}."} for i in range(5)])
    then = search([pack], "electricity", mode="lexical", snapshot=snapshot, explain=True)
    assert SnapshotTerm.objects.get(snapshot=snapshot, lexeme="electr").df == 1
    assert [term["df"] for term in (then.explain or {})["packs"][0]["terms"]] == [1]
    assert then.hits[0].external_id == "solar"
    assert before
    assert then.hits[0].lexical == pytest.approx(before, rel=0.25)  # the weights know today's average length


def test_a_rebuild_keeps_old_revisions_out_of_plain_searches(fill: Fill, pack: KnowledgePack, http: Client) -> None:
    solar, _, _ = fill(ITEMS)
    publish(pack, "v1")
    assert solar.entry
    retire(pack, solar.entry)
    services.update_pack(pack.pk, {"language": "german"})
    assert PassageLexical.objects.filter(pack=pack, live=False).count() == 1
    assert found(http, pack, mode="lexical") == {"bread", "cafe"}
    assert found(http, pack, mode="semantic", snapshot="v1") == {"solar", "bread", "cafe"}
