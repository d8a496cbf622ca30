"""One entry over the API: read, change, history, trash; and what two people do to it at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from accounts.services import create_api_key
from council.deliberation import citations
from council.deliberation.types import Evidence
from council.models import Citation
from knowledge import cleaning, indexing, selectors, services
from knowledge.models import (
    Entry,
    EntryRevision,
    KnowledgePack,
    PackShare,
    Passage,
    PassageLexical,
    PassageVector,
    Snapshot,
    SnapshotEntry,
    TermStats,
)
from realtime.cleaning import run
from tests.conftest import Api
from tests.knowledge.conftest import BREAD, CAFE, SOLAR, Fill, index_all
from tests.knowledge.test_api_packs import ABSENT, pointers, problem, url
from tests.support.councils import Convene, conclude


@pytest.fixture
def entries(pack: KnowledgePack) -> str:
    return f"{url(pack)}/entries"


@pytest.fixture
def solar(fill: Fill, entries: str) -> str:
    """The address of one indexed entry."""
    (result,) = fill([SOLAR])
    assert result.entry
    return f"{entries}/{result.entry.pk}"


def kinds(pack: KnowledgePack) -> list[str]:
    return [event.type for event in pack.events.order_by("seq") if event.type.startswith("entry.")]


def found(api: Api, entries: str, words: str) -> list[str]:
    return [hit["entry"]["title"] for hit in api.get(f"{entries}/search?q={words}&mode=lexical").json()["results"]]


# --- Reading and changing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_one_entry_comes_with_its_content_and_tag(api: Api, solar: str, slash: str) -> None:
    response = api.get(solar + slash)
    assert {name: response.json()[name] for name in SOLAR} == SOLAR
    assert response.headers["ETag"].startswith('"v1.')
    assert api.get(solar, If_None_Match=response.headers["ETag"]).status_code == 304


def test_an_entry_of_another_pack_or_person_is_not_there(
    api: Api, other_api: Api, user: User, solar: str, entries: str
) -> None:
    elsewhere = services.create_pack(user, name="Elsewhere")
    problem(api.get(solar.replace(entries, f"{url(elsewhere)}/entries")), 404)
    problem(other_api.get(solar), 404)
    for wrong in (ABSENT, "x"):
        problem(api.get(f"{entries}/{wrong}"), 404)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_viewer_may_only_read(other_api: Api, other_user: User, pack: KnowledgePack, solar: str, method: str) -> None:
    PackShare.objects.create(pack=pack, user=other_user, role="viewer")
    assert other_api.get(solar).status_code == 200
    problem(other_api(method, solar, {"title": "Mine"}), 403, "role_too_low")


def test_new_words_make_a_revision_with_its_author_and_note(api: Api, user: User, entries: str, solar: str) -> None:
    body = api.patch(solar, {"content": "Tidal turbines.", "note": "new plan"}).json()
    assert (body["content"], body["revision"], body["version"], body["tags"]) == (
        "Tidal turbines.", 2, 2, SOLAR["tags"],
    )  # fmt: skip
    revision = EntryRevision.objects.get(number=2)
    assert (revision.author, revision.note) == (user, "new plan")
    assert found(api, entries, "tidal") == [SOLAR["title"]]
    assert found(api, entries, "photovoltaic") == []


def test_a_new_title_alone_is_found_too(api: Api, entries: str, solar: str) -> None:
    assert api.patch(solar, {"title": "Heliostat"}).json()["content"] == SOLAR["content"]
    assert found(api, entries, "heliostat") == found(api, entries, "photovoltaic") == ["Heliostat"]


def test_other_fields_make_no_revision_and_keep_the_vectors(api: Api, pack: KnowledgePack, solar: str) -> None:
    changes = {"tags": ["a", "a"], "metadata": {"k": 1}, "source_url": "https://example.org/", "external_id": None}
    body = api.patch(solar, {**changes, "review_by": "2030-01-31", "enabled": False}).json()
    assert (body["tags"], body["metadata"], body["source_url"], body["external_id"]) == (
        ["a"], {"k": 1}, "https://example.org/", None,
    )  # fmt: skip
    assert (body["review_by"], body["enabled"], body["revision"], body["status"]) == ("2030-01-31", False, 1, "ready")
    assert PassageVector.objects.filter(pack=pack).count() == 1


def test_a_review_is_recorded_and_taken_back(api: Api, user: User, solar: str) -> None:
    assert api.patch(solar, {"reviewed": True}).json()["reviewed_at"]
    assert Entry.objects.get().reviewed_by == user
    assert api.patch(solar, {"reviewed": False}).json()["reviewed_at"] is None
    assert Entry.objects.get().reviewed_by is None


def test_another_language_indexes_the_words_again_and_keeps_the_vectors(
    api: Api, pack: KnowledgePack, solar: str
) -> None:
    (before,) = PassageLexical.objects.filter(pack=pack)
    PassageLexical.objects.filter(pack=pack).update(dl=before.dl + 7)  # to see that the row is made anew
    KnowledgePack.objects.update(passage_length=before.dl + 7)
    assert api.patch(solar, {"language": "german"}).json()["language"] == "german"
    pack.refresh_from_db()
    assert PassageLexical.objects.get(pack=pack).dl == pack.passage_length < before.dl + 7
    assert (TermStats.objects.filter(pack=pack).exists(), Entry.objects.get().index_status) == (True, "ready")


def test_an_empty_or_equal_change_changes_nothing(api: Api, pack: KnowledgePack, solar: str) -> None:
    before = kinds(pack)
    for change in ({}, {"title": SOLAR["title"]}, {"content": SOLAR["content"], "tags": SOLAR["tags"]}):
        assert api.patch(solar, change).headers["ETag"].startswith('"v1.')
    assert kinds(pack) == before


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"title": ""}, "/title"),
        ({"title": None}, "/title"),
        ({"content": " "}, "/content"),
        ({"enabled": "yes"}, "/enabled"),
        ({"reviewed": 1}, "/reviewed"),
        ({"language": "klingon"}, "/language"),
        ({"review_by": "soon"}, "/review_by"),
        ({"review_by": 7}, "/review_by"),
        ({"note": "x" * 301}, "/note"),
        ({"note": "\x00"}, "/note"),
        ({"version": 2}, "/version"),
        ([], ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(sorted(value)),
)
def test_a_wrong_change_is_refused_with_its_pointer(api: Api, solar: str, change: Any, pointer: str) -> None:
    assert pointer in pointers(api.patch(solar, change))
    assert Entry.objects.get().version == 1


def test_a_change_may_not_make_a_twin_or_take_an_external_id(api: Api, fill: Fill, solar: str) -> None:
    fill([BREAD], index=False)
    problem(api.patch(solar, {"external_id": "bread"}), 409, "external_id_taken")
    body = problem(api.patch(solar, {"title": BREAD["title"], "content": BREAD["content"]}), 409, "duplicate")
    assert body["errors"][0]["title"] == BREAD["title"]


def test_a_stale_tag_is_412_and_nothing_is_lost(api: Api, solar: str) -> None:
    assert api.patch(solar, {"title": "First"}, If_Match='"v1"').status_code == 200
    problem(api.patch(solar, {"title": "Second"}, If_Match='"v1"'), 412, "precondition_failed")
    problem(api.delete(solar, If_Match='"v1"'), 412, "precondition_failed")
    assert api.get(solar).json()["title"] == "First"


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """Run the jobs at the same time, each on a connection of its own; their answers in order."""
    answers: list[Any] = [None] * len(jobs)
    gate = threading.Barrier(len(jobs))

    def run(place: int) -> None:
        try:
            gate.wait(10)
            answers[place] = jobs[place]()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.django_db(transaction=True)
def test_of_two_people_with_the_same_tag_one_gets_412(
    user: User, other_user: User, pack: KnowledgePack, solar: str
) -> None:
    PackShare.objects.create(pack=pack, user=other_user, role="editor")
    people = [Api(create_api_key(person, "race")[1]) for person in (user, other_user)]
    for version in range(1, 6):
        tag = f'"v{version}"'
        change = [{"content": f"{version} by {i}"} for i in (0, 1)]
        answers = together(*(partial(people[i].patch, solar, change[i], If_Match=tag) for i in (0, 1)))
        codes = [answer.status_code for answer in answers]
        assert sorted(codes) == [200, 412]
        assert Entry.objects.get().revision.content == f"{version} by {codes.index(200)}"
    assert EntryRevision.objects.count() == 6


@pytest.mark.django_db(transaction=True)
def test_changes_of_different_fields_at_once_are_both_kept(api: Api, user: User, solar: str) -> None:
    for turn in range(5):
        changes = [{"title": f"T{turn}"}, {"content": f"C{turn}"}, {"tags": [f"t{turn}"]}]
        answers = together(*(partial(api.patch, solar, change) for change in changes))
        assert [answer.status_code for answer in answers] == [200] * 3
        body = api.get(solar).json()
        assert (body["title"], body["content"], body["tags"]) == (f"T{turn}", f"C{turn}", [f"t{turn}"])
        (passage,) = Passage.objects.filter(entry=body["id"])
        assert passage.text == f"C{turn}"


# --- History ----------------------------------------------------------------------------------------------------------


def test_revisions_are_listed_newest_first_without_content(api: Api, solar: str) -> None:
    for number in range(2, 5):
        api.patch(solar, {"content": f"Version {number}", "note": f"n{number}"})
    first = api.get(f"{solar}/revisions?limit=3").json()
    assert [(row["number"], row["note"]) for row in first["results"]] == [(4, "n4"), (3, "n3"), (2, "n2")]
    assert set(first["results"][0]) == {"id", "number", "title", "content_hash", "author", "note", "created_at"}
    assert [row["number"] for row in api.get(first["next"]).json()["results"]] == [1]
    assert api.get(f"{solar}/revisions/1").json()["content"] == SOLAR["content"]


def test_a_diff_is_against_the_one_before_or_any_other(api: Api, solar: str) -> None:
    api.patch(solar, {"content": "one\ntwo\n", "title": "Numbers"})
    api.patch(solar, {"content": "one\nthree\n"})
    body = api.get(f"{solar}/revisions/3/diff").json()
    assert (body["number"], body["against"], body["title"]) == (3, 2, None)
    assert body["content"]["unified"] == "--- revision 2\n+++ revision 3\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n"
    assert [line["op"] for line in body["content"]["hunks"][0]["lines"]] == [" ", "-", "+"]
    assert api.get(f"{solar}/revisions/3/diff?against=1").json()["title"] == {"old": SOLAR["title"], "new": "Numbers"}
    first = api.get(f"{solar}/revisions/1/diff").json()
    assert (first["against"], first["content"]["added"], first["content"]["removed"]) == (None, 1, 0)


@pytest.mark.parametrize("path", ["9", "0", "x", "-1", "²", "99999999999", "9/diff", "1/diff?against=9"])
def test_a_revision_that_is_not_there_is_404(api: Api, solar: str, path: str) -> None:
    problem(api.get(f"{solar}/revisions/{path}"), 404)


def test_a_revert_is_a_new_revision(api: Api, entries: str, solar: str) -> None:
    api.patch(solar, {"title": "Other", "content": "Tidal turbines."})
    problem(api.post(f"{solar}/revisions/1/revert", If_Match='"v1"'), 412)
    body = api.post(f"{solar}/revisions/1/revert", If_Match='"v2"').json()
    assert (body["title"], body["content"], body["revision"]) == (SOLAR["title"], SOLAR["content"], 3)
    assert EntryRevision.objects.get(number=3).note == "reverted to revision 1"
    assert found(api, entries, "photovoltaic") == [SOLAR["title"]]


def test_a_citation_of_revision_1_outlives_revision_5_and_the_entry(api: Api, solar: str) -> None:
    revision = EntryRevision.objects.get(number=1)
    shown = Evidence(
        n=1, revision=str(revision.pk), entry=str(revision.entry_id), pack="", title=revision.title, passage=None, start=0,
        end=len(SOLAR["content"]), text=str(SOLAR["content"]),
    )  # fmt: skip

    def verdict() -> str:
        said = "Photovoltaic modules turn sunlight into electricity [1]."
        (checked,) = citations.check(said, [shown], selectors.revision_text)
        return checked.status

    for number in range(2, 6):
        api.patch(solar, {"content": f"Something else, {number}."})
    assert (EntryRevision.objects.count(), verdict()) == (5, "verified")
    api.delete(solar)
    assert verdict() == "verified"
    assert api.get(f"{solar}/revisions/1").json()["content"] == SOLAR["content"]


# --- Trash ------------------------------------------------------------------------------------------------------------


def test_a_deleted_entry_is_in_the_trash_and_nowhere_else(
    api: Api, other_api: Api, other_user: User, pack: KnowledgePack, entries: str, solar: str
) -> None:
    PackShare.objects.create(pack=pack, user=other_user, role="viewer")
    assert api.delete(solar, If_Match='"v1"').status_code == 204
    problem(api.get(solar), 404)
    problem(api.patch(solar, {"title": "x"}), 404)
    problem(api.delete(solar), 404)
    assert (api.get(entries).json()["results"], found(api, entries, "photovoltaic")) == ([], [])
    (row,) = api.get(f"{entries}?trash=true").json()["results"]
    assert row["deleted_at"]
    problem(other_api.get(f"{entries}?trash=true"), 403)


def test_a_restored_entry_is_found_again(api: Api, pack: KnowledgePack, entries: str, solar: str) -> None:
    problem(api.post(f"{solar}/restore"), 409, "not_deleted")
    api.delete(solar)
    body = api.post(f"{solar}/restore").json()
    assert (body["status"], body["version"], found(api, entries, "photovoltaic")) == ("pending", 2, [SOLAR["title"]])
    index_all(pack)
    pack.refresh_from_db()
    assert (api.get(solar).json()["status"], PassageVector.objects.count(), pack.entry_count) == ("ready", 1, 1)
    assert "entry.restored" in kinds(pack)


@pytest.mark.parametrize(
    ("newcomer", "code"),
    [({**BREAD, "external_id": "solar"}, "external_id_taken"), ({**SOLAR, "external_id": "new"}, "duplicate")],
    ids=["external-id", "twin"],
)
def test_what_has_been_replaced_meanwhile_cannot_be_restored(
    api: Api, entries: str, solar: str, newcomer: dict[str, Any], code: str
) -> None:
    api.delete(solar)
    assert api.post(entries, newcomer).status_code == 201
    problem(api.post(f"{solar}/restore"), 409, code)


def trashed_long_ago(*addresses: str) -> None:
    for address in addresses:
        services.delete_entry(address.rpartition("/")[2])  # type: ignore[arg-type]  # Django takes text for a UUID
    Entry.objects.filter(deleted_at__isnull=False).update(deleted_at=timezone.now() - timedelta(days=31))


def empty_trash() -> None:
    run("trashed-entries", cleaning.ENTRIES)


def test_the_trash_is_emptied_after_its_days(pack: KnowledgePack, fill: Fill, solar: str) -> None:
    (bread,) = fill([BREAD])
    assert bread.entry
    services.delete_entry(bread.entry.pk)
    trashed_long_ago(solar)
    Entry.objects.filter(pk=bread.entry.pk).update(deleted_at=timezone.now() - timedelta(days=29))
    empty_trash()
    assert list(Entry.objects.values_list("pk", flat=True)) == [bread.entry.pk]
    assert EntryRevision.objects.count() == 1
    assert kinds(pack)[-1] == "entry.purged"


def test_what_a_snapshot_shows_is_not_purged_before_it(pack: KnowledgePack, solar: str) -> None:
    entry = Entry.objects.get()
    snapshot = Snapshot.objects.create(pack=pack, label="1", entry_count=1, passage_count=1, content_hash="")
    SnapshotEntry.objects.create(snapshot=snapshot, revision=entry.revision, entry=entry, ordinal=1)
    trashed_long_ago(solar)
    empty_trash()
    assert Entry.objects.exists()
    snapshot.delete()
    empty_trash()
    assert not Entry.objects.exists()


@pytest.mark.forges
def test_a_purge_that_is_asked_for_keeps_the_revisions_that_snapshots_show(
    user: User, pack: KnowledgePack, solar: str
) -> None:
    entry = services.revise_entry(Entry.objects.get().pk, user, {"content": "Newer."})
    first = EntryRevision.objects.get(number=1)
    snapshot = Snapshot.objects.create(pack=pack, label="1", entry_count=1, passage_count=1, content_hash="")
    SnapshotEntry.objects.create(snapshot=snapshot, revision=first, entry=entry, ordinal=1)
    with transaction.atomic():
        services.purge_entries(services.locked_pack(pack.pk), [entry])
    assert list(EntryRevision.objects.all()) == [first]
    assert SnapshotEntry.objects.get().entry is None
    assert (Passage.objects.exists(), PassageVector.objects.exists()) == (False, False)


@pytest.mark.forges
@pytest.mark.django_db(transaction=True)
def test_a_cited_revision_survives_the_purge_of_its_entry(
    user: User, convene: Convene, pack: KnowledgePack, solar: str
) -> None:
    services.revise_entry(Entry.objects.get().pk, user, {"content": "Not cited."})
    cited = EntryRevision.objects.get(number=1)
    decision = conclude(user, convene()).runs.get().decision
    Citation.objects.create(decision=decision, n=1, revision=cited, status="verified")
    trashed_long_ago(solar)
    empty_trash()
    assert not Entry.objects.exists()
    assert list(EntryRevision.objects.filter(entry=None)) == list(EntryRevision.objects.all()) == [cited]
    assert selectors.revision_text(cited.pk) == SOLAR["content"]


# --- Index status -----------------------------------------------------------------------------------------------------


def test_a_failed_entry_says_why_and_can_be_retried(api: Api, pack: KnowledgePack, entries: str, solar: str) -> None:
    problem(api.post(f"{solar}/retry"), 409, "illegal_transition")
    api.patch(solar, {"content": "Tidal."})
    (claim,) = indexing.claim(pack.pk)
    Entry.objects.update(index_status="failed", index_error="too odd", lease_expires_at=None)
    (row,) = api.get(f"{entries}?status=failed").json()["results"]
    assert row["error"] == "too odd"
    response = api.post(f"{solar}/retry")
    assert (response.status_code, response.json()["status"], response.json()["error"]) == (202, "pending", None)
    index_all(pack)
    assert api.get(solar).json()["status"] == "ready"
    assert claim.entry_id == Entry.objects.get().pk


def test_an_archived_pack_keeps_its_entries_as_they_are(
    api: Api, pack: KnowledgePack, entries: str, solar: str
) -> None:
    services.update_pack(pack.pk, {"status": "archived"})
    problem(api.patch(solar, {"title": "x"}), 409, "pack_closed")
    problem(api.delete(solar), 409, "pack_closed")
    problem(api.post(f"{solar}/revisions/1/revert"), 409, "pack_closed")
    problem(api.post(f"{entries}/bulk", {"action": "delete", "ids": [solar[-36:]]}), 409, "pack_closed")
    problem(api.post(f"{entries}/reorder", {"ids": [solar[-36:]], "after": None}), 409, "pack_closed")


# --- The list ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(fill: Fill, api: Api, entries: str) -> str:
    fill(index=False)
    for row in api.get(entries).json()["results"]:
        if row["external_id"] == "bread":
            api.patch(f"{entries}/{row['id']}", {"enabled": False, "review_by": "2020-01-01"})
        if row["external_id"] == "cafe":
            api.patch(f"{entries}/{row['id']}", {"language": "german", "review_by": "2020-01-01", "reviewed": True})
    return entries


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tag=food", {"bread", "cafe"}),
        ("tag=food&tag=travel", {"cafe"}),
        ("enabled=false", {"bread"}),
        ("source=https://example.org/", {"cafe"}),
        ("source=example", set()),
        ("q=SOUR", {"bread"}),
        ("q=%25", set()),
        ("language=german", {"cafe"}),
        ("language=english", {"solar", "bread"}),
        ("external_id=solar", {"solar"}),
        ("created_after=2020-01-01T00:00:00Z", {"solar", "bread", "cafe"}),
        ("created_before=2020-01-01T00:00:00Z", set()),
        ("updated_after=2100-01-01T00:00:00%2B02:00", set()),
        ("needs_review=true", {"bread"}),
        ("needs_review=false", {"solar", "cafe"}),
        ("trash=true", set()),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(sorted(value)),
)
def test_the_list_filters(api: Api, three: str, query: str, expected: set[str]) -> None:
    assert {row["external_id"] for row in api.get(f"{three}?{query}").json()["results"]} == expected


@pytest.mark.parametrize(
    "query",
    [
        "enabled=perhaps", "language=klingon", "created_after=yesterday", "created_after=2020-01-01",
        "updated_before=2020-13-01T00:00:00Z", "needs_review=x", "trash=x", "ordering=content", "ordering=title&cursor=x",
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_meant_is_400(api: Api, entries: str, query: str) -> None:
    problem(api.get(f"{entries}?{query}"), 400)


@pytest.mark.parametrize(
    "ordering", ["ordinal", "-ordinal", "created_at", "-created_at", "updated_at", "title", "-title"]
)
def test_every_order_pages_forth_and_back(api: Api, three: str, ordering: str) -> None:
    field = ordering.removeprefix("-")
    whole = api.get(f"{three}?ordering={ordering}").json()["results"]
    assert [row[field] for row in whole] == sorted((row[field] for row in whole), reverse=ordering.startswith("-"))
    pages = [api.get(f"{three}?ordering={ordering}&limit=1").json()]
    while pages[-1]["next"]:
        pages.append(api.get(pages[-1]["next"]).json())
    assert [row for page in pages for row in page["results"]] == whole
    assert api.get(pages[-1]["previous"]).json()["results"] == pages[-2]["results"]


def test_a_cursor_belongs_to_its_order(api: Api, three: str) -> None:
    cursor = api.get(f"{three}?ordering=title&limit=1").json()["next"]
    problem(api.get(cursor.replace("ordering=title", "ordering=ordinal")), 400, "bad_cursor")


def test_disabled_entries_are_not_found(api: Api, three: str) -> None:
    assert found(api, three, "sourdough") == []
    assert CAFE["title"] in found(api, three, "espresso")
