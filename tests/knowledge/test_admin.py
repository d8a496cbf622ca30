"""The admin changes packs and entries through the services, so an edit there is a revision, indexed and recorded."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from knowledge import indexing, services
from knowledge.models import Entry, EntryRevision, KnowledgePack
from knowledge.states import IndexStatus
from realtime.errors import IllegalState
from tests.knowledge.conftest import SOLAR, Fill


@pytest.fixture
def staff(db: None) -> Client:
    User.objects.create_superuser("staff@example.org", "a long password for staff")
    client = Client()
    assert client.login(username="staff@example.org", password="a long password for staff")
    return client


def address(model: str, page: str, *args: object) -> str:
    return reverse(f"admin:knowledge_{model}_{page}", args=args)


def pack_form(user: User, **changes: Any) -> dict[str, Any]:
    form = {
        "owner": user.pk,
        "name": "New",
        "description": "",
        "visibility": "private",
        "tags": "a,b",
        "language": "english",
    }
    return {**form, **changes}


def entry_form(pack: KnowledgePack, **changes: Any) -> dict[str, Any]:
    form = {
        "pack": pack.pk,
        "title": "T",
        "content": "Some words.",
        "tags": "x",
        "metadata": "{}",
        "note": "why",
        "enabled": "on",
    }
    return {**form, **changes}


@pytest.mark.parametrize("model", ["knowledgepack", "entry", "entryrevision"])
def test_the_lists_open_and_search(staff: Client, fill: Fill, model: str) -> None:
    fill(index=False)
    assert staff.get(address(model, "changelist") + "?q=solar").status_code == 200


def test_a_pack_is_created_with_its_event(staff: Client, user: User) -> None:
    response = staff.post(address("knowledgepack", "add"), pack_form(user))
    assert response.status_code == 302
    pack = KnowledgePack.objects.get()
    assert (pack.owner, pack.tags, pack.status) == (user, ["a", "b"], "draft")
    assert pack.events.get().type == "pack.created"


def test_a_pack_is_changed_but_not_its_status_or_owner(
    staff: Client, pack: KnowledgePack, user: User, other_user: User
) -> None:
    page = address("knowledgepack", "change", pack.pk)
    form = pack_form(user, name="Renamed", status="active", owner=other_user.pk)
    assert staff.post(page, form).status_code == 302
    pack.refresh_from_db()
    assert (pack.name, pack.status, pack.owner, pack.version) == ("Renamed", "draft", user, 2)


def test_what_a_service_refuses_is_an_error_of_the_form(
    staff: Client, pack: KnowledgePack, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the pack goes to the trash between the form's check and the change."""

    def refuse(*_args: object, **_named: object) -> None:
        KnowledgePack.objects.filter(pk=pack.pk).update(description="half done")
        raise IllegalState("The pack is closed.", code="pack_closed")

    monkeypatch.setattr(services, "update_pack", refuse)
    response = staff.post(address("knowledgepack", "change", pack.pk), pack_form(user, name="Renamed"))
    assert response.context["adminform"].form.non_field_errors() == ["The pack is closed."]
    pack.refresh_from_db()
    assert (pack.name, pack.description) == ("Notes", "Things worth knowing")


def test_deleting_a_pack_moves_it_to_the_trash(staff: Client, pack: KnowledgePack) -> None:
    staff.post(address("knowledgepack", "delete", pack.pk), {"post": "yes"})
    pack.refresh_from_db()
    assert pack.status == "deleted"
    assert staff.post(address("knowledgepack", "delete", pack.pk), {"post": "yes"}).status_code == 403


def test_an_entry_is_added_through_the_service(staff: Client, pack: KnowledgePack) -> None:
    response = staff.post(address("entry", "add"), entry_form(pack))
    assert response.status_code == 302
    entry = Entry.objects.select_related("revision").get()
    assert (entry.revision.content, entry.revision.note, entry.tags) == ("Some words.", "why", ["x"])
    assert (entry.source_url, entry.external_id) == (None, None)
    assert indexing.claim(pack.pk)[0].entry_id == entry.pk


def test_editing_content_makes_a_revision_by_the_editor(staff: Client, fill: Fill, pack: KnowledgePack) -> None:
    (result,) = fill([SOLAR])
    assert result.entry
    page = address("entry", "change", result.entry.pk)
    assert b"Photovoltaic" in staff.get(page).content
    assert staff.post(page, entry_form(pack, content="Curated words.", external_id="solar")).status_code == 302
    revision = EntryRevision.objects.get(number=2)
    assert (revision.content, revision.author.email) == ("Curated words.", "staff@example.org")  # type: ignore[union-attr]  # an error fails the test
    assert Entry.objects.get().index_status == "pending"


def test_an_entry_can_be_hidden_without_a_revision(staff: Client, fill: Fill, pack: KnowledgePack) -> None:
    (result,) = fill([SOLAR])
    assert result.entry
    form = entry_form(pack, title=SOLAR["title"], content=SOLAR["content"], external_id="solar", tags="energy,roof")
    del form["enabled"]
    assert staff.post(address("entry", "change", result.entry.pk), form).status_code == 302
    entry = Entry.objects.get()
    assert (entry.enabled, entry.revision_number, entry.index_status) == (False, 1, "ready")


@pytest.mark.parametrize(("field", "value"), [("content", "  "), ("source_url", "javascript:x"), ("metadata", "[]")])
def test_wrong_fields_are_errors_of_the_form(staff: Client, pack: KnowledgePack, field: str, value: str) -> None:
    response = staff.post(address("entry", "add"), entry_form(pack, **{field: value}))
    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert not Entry.objects.exists()


def test_what_somebody_else_saved_meanwhile_is_not_overwritten(staff: Client, fill: Fill, pack: KnowledgePack) -> None:
    (result,) = fill([SOLAR])
    assert result.entry
    page = address("entry", "change", result.entry.pk)
    seen = staff.get(page).context["adminform"].form["seen_version"].value()
    services.revise_entry(result.entry.pk, None, {"content": "Newer words."})
    response = staff.post(page, entry_form(pack, content="My words.", seen_version=seen))
    assert "Somebody else" in response.context["adminform"].form.non_field_errors()[0]
    assert Entry.objects.select_related("revision").get().revision.content == "Newer words."


def test_language_and_date_of_review_are_set_in_the_editor(staff: Client, fill: Fill, pack: KnowledgePack) -> None:
    (result,) = fill([SOLAR])
    assert result.entry
    form = entry_form(pack, language="german", review_by="2030-01-31")
    assert staff.post(address("entry", "change", result.entry.pk), form).status_code == 302
    entry = Entry.objects.get()
    assert (entry.language, str(entry.review_by)) == ("german", "2030-01-31")


def test_an_entry_goes_back_to_a_revision(staff: Client, fill: Fill) -> None:
    (result,) = fill([SOLAR])
    assert result.entry
    services.revise_entry(result.entry.pk, None, {"content": "Other words."})
    page = reverse("admin:knowledge_entry_revert", args=[result.entry.pk, 1])
    assert staff.get(page).status_code == 405
    assert staff.post(page).status_code == 302
    entry = Entry.objects.select_related("revision").get()
    assert (entry.revision_number, entry.revision.content) == (3, SOLAR["content"])


def test_an_external_id_that_is_taken_is_an_error_of_the_form(staff: Client, fill: Fill, pack: KnowledgePack) -> None:
    first, _, _ = fill(index=False)
    assert first.entry
    page = address("entry", "change", first.entry.pk)
    response = staff.post(page, entry_form(pack, external_id="bread"))
    assert response.status_code == 200
    assert "external_id" in response.context["adminform"].form.errors


def test_entries_of_an_archived_pack_are_read_only(staff: Client, fill: Fill, pack: KnowledgePack) -> None:
    (result,) = fill([SOLAR])
    assert result.entry
    services.update_pack(pack.pk, {"status": "archived"})
    assert staff.post(address("entry", "change", result.entry.pk), entry_form(pack)).status_code == 403
    assert staff.post(address("entry", "add"), entry_form(pack)).status_code == 200
    assert Entry.objects.get().revision_number == 1


def test_failed_entries_are_queued_again_by_an_action(staff: Client, fill: Fill, pack: KnowledgePack) -> None:
    (result,) = fill([SOLAR], index=False)
    assert result.entry
    indexing.claim(pack.pk)
    Entry.objects.update(index_status=IndexStatus.FAILED, lease_expires_at=None, index_error="broken")
    staff.post(address("entry", "changelist"), {"action": "retry_indexing", "_selected_action": [str(result.entry.pk)]})
    entry = Entry.objects.get()
    assert (entry.index_status, entry.index_error, entry.attempt) == ("pending", "", 0)


def test_entries_are_deleted_through_the_service(staff: Client, fill: Fill, pack: KnowledgePack) -> None:
    results = fill(index=False)
    selected = [str(result.entry.pk) for result in results if result.entry]
    staff.post(
        address("entry", "changelist"), {"action": "delete_selected", "_selected_action": selected, "post": "yes"}
    )
    pack.refresh_from_db()
    assert pack.entry_count == 0
    assert Entry.objects.filter(deleted_at=None).count() == 0
    assert pack.events.filter(type="entry.deleted").count() == 3


def test_revisions_can_only_be_read(staff: Client, fill: Fill) -> None:
    fill([SOLAR], index=False)
    revision = EntryRevision.objects.get()
    page = address("entryrevision", "change", revision.pk)
    assert staff.get(page).status_code == 200
    assert staff.post(page, {"title": "x"}).status_code == 403
    assert staff.get(address("entryrevision", "add")).status_code == 403
