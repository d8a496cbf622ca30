"""What the database itself refuses, whatever path a write takes."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from accounts.models import User
from knowledge.models import Entry, EntryRevision, KnowledgePack
from knowledge.states import INDEX_TRANSITIONS, PACK_TRANSITIONS, IndexStatus, PackStatus
from tests.knowledge.conftest import Fill


@pytest.mark.parametrize("field", ["title", "content", "number", "content_hash", "note", "created_at"])
def test_revisions_cannot_be_changed(fill: Fill, field: str) -> None:
    fill(index=False)
    value = {"number": 9, "created_at": timezone.now()}.get(field, "changed")
    with pytest.raises(DatabaseError, match="Cannot update rows"), transaction.atomic():
        EntryRevision.objects.update(**{field: value})


def test_revisions_can_lose_their_author_but_not_get_another(fill: Fill, other_user: User) -> None:
    fill(index=False)
    with pytest.raises(DatabaseError, match="Cannot update rows"), transaction.atomic():
        EntryRevision.objects.update(author=other_user)
    EntryRevision.objects.update(author=None)
    assert set(EntryRevision.objects.values_list("author", flat=True)) == {None}


def test_a_revision_can_be_cut_loose_from_its_entry_but_not_given_to_another(fill: Fill) -> None:
    first, second, _ = [result.entry for result in fill(index=False)]
    assert first
    assert second
    with pytest.raises(DatabaseError, match="Cannot update rows"), transaction.atomic():
        EntryRevision.objects.filter(entry=first).update(entry=second, number=2)
    assert EntryRevision.objects.filter(entry=first).update(entry=None) == 1


@pytest.mark.forges
@pytest.mark.parametrize("old", PackStatus.values)
@pytest.mark.parametrize("new", PackStatus.values)
def test_the_database_and_the_table_agree_on_steps_of_packs(pack: KnowledgePack, old: str, new: str) -> None:
    _reach(pack, old)
    values = {"status": new, "deleted_at": timezone.now() if new == "deleted" else None}
    if old == new or new in PACK_TRANSITIONS[old]:
        assert KnowledgePack.objects.filter(pk=pack.pk).update(**values) == 1
    else:
        with pytest.raises(DatabaseError, match="Invalid transition"), transaction.atomic():
            KnowledgePack.objects.filter(pk=pack.pk).update(**values)


def _reach(pack: KnowledgePack, status: str) -> None:
    route = {"draft": [], "active": ["active"], "archived": ["active", "archived"], "deleted": ["deleted"]}[status]
    for step in route:
        KnowledgePack.objects.filter(pk=pack.pk).update(
            status=step, deleted_at=timezone.now() if step == "deleted" else None
        )


@pytest.mark.forges
@pytest.mark.parametrize("old", IndexStatus.values)
@pytest.mark.parametrize("new", IndexStatus.values)
def test_the_database_and_the_table_agree_on_steps_of_entries(fill: Fill, old: str, new: str) -> None:
    (result,) = fill([{"title": "t", "content": "c"}], index=False)
    assert result.entry
    entries = Entry.objects.filter(pk=result.entry.pk)
    for step in {"pending": [], "indexing": ["indexing"]}.get(old, ["indexing", old]):
        entries.update(**_index_values(step))
    if old == new or new in INDEX_TRANSITIONS[old]:
        assert entries.update(**_index_values(new)) == 1
    else:
        with pytest.raises(DatabaseError, match="Invalid transition"), transaction.atomic():
            entries.update(**_index_values(new))


def _index_values(status: str) -> dict[str, object]:
    return {"index_status": status, "lease_expires_at": timezone.now() if status == "indexing" else None}


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"visibility": "secret"}, "pack_visibility_known"),
        ({"language": "klingon"}, "pack_language_known"),
        ({"lexical_weight": 1.5}, "pack_lexical_weight_range"),
        ({"deleted_at": timezone.now()}, "pack_deleted_has_time"),
    ],
)
def test_values_outside_the_choices_are_refused(
    pack: KnowledgePack, values: dict[str, object], constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        KnowledgePack.objects.filter(pk=pack.pk).update(**values)


@pytest.mark.forges
def test_an_external_id_is_unique_in_its_pack_until_the_entry_is_deleted(fill: Fill) -> None:
    first, second, _ = [result.entry for result in fill(index=False)]
    assert first
    assert second
    with pytest.raises(IntegrityError, match="entry_external_id_unique"), transaction.atomic():
        Entry.objects.filter(pk=second.pk).update(external_id=first.external_id)
    Entry.objects.filter(pk=first.pk).update(deleted_at=timezone.now())
    assert Entry.objects.filter(pk=second.pk).update(external_id=first.external_id) == 1


def test_deleting_a_person_takes_their_packs_along(fill: Fill, user: User) -> None:
    fill()
    user.delete()
    assert not KnowledgePack.objects.exists()
    assert not EntryRevision.objects.exists()
