"""Imports and snapshots in the admin: begun, followed, carried out, published and forgotten through the services."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.models import User
from knowledge import services
from knowledge.imports import files
from knowledge.imports.tasks import run_import
from knowledge.models import Entry, Import, KnowledgePack, Snapshot
from tests.knowledge.conftest import Fill
from tests.knowledge.test_admin_packs import looker, staff

__all__ = ["looker", "staff"]  # fixtures

NOTES = b"# Boiler\n\nBleed it in May.\n"


def begin(client: Client, pack: KnowledgePack, *uploads: tuple[str, bytes], **values: Any) -> Any:
    found = [SimpleUploadedFile(name, data) for name, data in uploads]
    body = {"pack": str(pack.pk), "uploads": found, "on_duplicate": "skip", **values}
    return client.post(reverse("admin:knowledge_import_add"), body)


def address(name: str, job: Import) -> str:
    return reverse(f"admin:knowledge_import_{name}", args=[job.pk])


def test_a_file_is_planned_looked_at_and_carried_out(staff: Client, pack: KnowledgePack) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("house/boiler.md", NOTES)
        archive.writestr("house/empty.md", "")
    response = begin(staff, pack, ("notes.zip", zipped.getvalue()), dry_run="on", tags="home, heat", folder_tags="on")
    job = Import.objects.get()
    assert response.url == address("change", job)
    assert (job.created_by.email, job.dry_run) == ("staff@example.org", True)  # type: ignore[union-attr]  # an error fails the test
    assert job.options == {"tags": ["home", "heat"], "folder_tags": True}
    assert 'data-live="on"' in staff.get(address("change", job)).content.decode()
    run_import(str(job.pk))
    shown = staff.get(address("change", job)).content.decode()
    assert "makes 1 new entry, changes 0" in shown
    assert "The file is empty." in shown
    assert 'data-live=""' in shown
    assert not Entry.objects.exists()
    staff.post(address("commit", job))
    run_import(str(job.pk))
    entry = Entry.objects.get()
    assert (entry.title, set(entry.tags)) == ("Boiler", {"home", "heat", "house"})
    assert (
        reverse("admin:knowledge_entry_change", args=[entry.pk]) in staff.get(address("change", job)).content.decode()
    )
    assert b"empty.md" not in staff.get(address("change", job) + "?items=created").content


def test_a_diff_of_a_changed_file_is_shown(staff: Client, pack: KnowledgePack) -> None:
    services.add_entries(
        pack, None, [{"title": "Boiler", "content": "Bleed it in May.\nTwice.", "external_id": "boiler.md"}]
    )
    begin(staff, pack, ("boiler.md", NOTES), dry_run="on", path_ids="on")
    run_import(str(Import.objects.get().pk))
    shown = staff.get(address("change", Import.objects.get())).content.decode()
    assert "changes 1" in shown
    assert "content" in shown


def test_several_files_are_several_imports(staff: Client, pack: KnowledgePack) -> None:
    response = begin(staff, pack, ("a.md", NOTES), ("b.md", b"# B\n\nOther."))
    assert response.url.endswith(f"?pack__id__exact={pack.pk}")
    assert set(Import.objects.values_list("filename", "dry_run")) == {("a.md", False), ("b.md", False)}
    assert LogEntry.objects.count() == 2


def test_an_import_is_cancelled_once(staff: Client, pack: KnowledgePack) -> None:
    begin(staff, pack, ("a.md", NOTES))
    job = Import.objects.get()
    assert staff.get(address("cancel", job)).status_code == 405
    staff.post(address("cancel", job))
    job.refresh_from_db()
    assert (job.status, job.path) == ("cancelled", "")
    response = staff.post(address("cancel", job), follow=True)
    assert b"an import that is cancelled cannot become cancelled" in response.content
    assert b"Cancel the import" not in response.content


def test_what_is_wrong_stands_beside_its_field(
    staff: Client, pack: KnowledgePack, settings: LazySettings, user: User, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path  # other tests write beside us

    def errors(response: Any) -> set[str]:
        assert response.status_code == 200
        return set(response.context["form"].errors)

    assert errors(begin(staff, pack)) == {"uploads"}
    settings.IMPORT_MAX_BYTES = 10
    assert errors(begin(staff, pack, ("a.md", NOTES))) == {"uploads"}
    assert errors(begin(staff, pack, ("a.md", b"# A"), tags="x" * 51)) == {"tags"}
    services.delete_pack(pack.pk)
    assert errors(begin(staff, pack, ("a.md", b"# A"))) == {"pack"}
    assert not Import.objects.exists()
    assert not list(files.folder().iterdir())


def test_addresses_are_for_servers_that_may_fetch(staff: Client, pack: KnowledgePack, settings: LazySettings) -> None:
    form = reverse("admin:knowledge_import_add")
    assert b"IMPORT_URL_ALLOWLIST" in staff.get(form).content
    assert "uploads" in begin(staff, pack, urls="https://example.org/a").context["form"].errors
    settings.IMPORT_URL_ALLOWLIST = ["example.org"]
    elsewhere = begin(staff, pack, urls="https://example.org/a\nhttps://example.com/b").context["form"].errors
    assert set(elsewhere) == {"urls"}
    assert begin(staff, pack, urls="https://example.org/a\n\nhttps://example.org/b").status_code == 302
    assert Import.objects.get().urls == ["https://example.org/a", "https://example.org/b"]


@pytest.mark.forges
def test_who_may_only_look_imports_nothing(looker: Client, pack: KnowledgePack) -> None:
    job = Import.objects.create(pack=pack, status="planned", dry_run=True, filename="notes.md")
    assert looker.get(reverse("admin:knowledge_import_add")).status_code == 403
    assert begin(looker, pack, ("a.md", NOTES)).status_code == 403
    assert b"Carry the plan out" not in looker.get(address("change", job)).content
    for button in ("commit", "cancel"):
        assert looker.post(address(button, job)).status_code == 403
    job.refresh_from_db()
    assert job.status == "planned"
    assert b"Add import" not in looker.get(reverse("admin:knowledge_import_changelist") + "?q=none").content


def test_the_form_knows_the_pack_that_the_person_came_from(staff: Client, pack: KnowledgePack) -> None:
    came = f"?_changelist_filters=pack__id__exact%3D{pack.pk}"
    for model in ("import", "snapshot", "entry", "goldenquestion"):
        shown = staff.get(reverse(f"admin:knowledge_{model}_add") + came).content.decode()
        assert f'<option value="{pack.pk}" selected>' in shown, model


def test_an_empty_list_offers_an_import_into_its_pack(staff: Client, pack: KnowledgePack) -> None:
    shown = staff.get(f"{reverse('admin:knowledge_import_changelist')}?pack__id__exact={pack.pk}").content.decode()
    link = f'{reverse("admin:knowledge_import_add")}?_changelist_filters=pack__id__exact%3D{pack.pk}">Add import</a>'
    assert link in shown


# --- Snapshots ---


def publish(client: Client, pack: KnowledgePack, label: str, note: str = "") -> Any:
    body = {"pack": str(pack.pk), "label": label, "note": note, "_save": "1"}
    return client.post(reverse("admin:knowledge_snapshot_add"), body)


def test_a_pack_is_published_and_a_snapshot_forgotten(staff: Client, pack: KnowledgePack, fill: Fill) -> None:
    fill()
    response = publish(staff, pack, "v1", "first")
    snapshot = Snapshot.objects.get()
    assert (snapshot.label, snapshot.note, snapshot.entry_count) == ("v1", "first", 3)
    assert str(snapshot.created_by) == "staff@example.org"
    assert response.url == reverse("admin:knowledge_snapshot_change", args=[snapshot.pk])
    assert b"Sourdough bread" in staff.get(response.url).content
    taken = publish(staff, pack, "v1")
    assert "label" in taken.context["adminform"].form.errors
    staff.post(reverse("admin:knowledge_snapshot_delete", args=[snapshot.pk]), {"post": "yes"})
    assert not Snapshot.objects.exists()
    assert set(pack.events.values_list("type", flat=True)) >= {"snapshot.created", "snapshot.deleted"}


def test_what_cannot_be_published_says_why(staff: Client, pack: KnowledgePack, fill: Fill) -> None:
    def why(label: str) -> str:
        return str(publish(staff, pack, label).context["adminform"].form.non_field_errors()[0])

    assert why("empty") == "The pack has no enabled entry."
    fill(index=False)
    assert why("early") == "3 of 3 entries are not indexed."
    assert not Snapshot.objects.exists()


def test_who_may_only_look_publishes_and_forgets_nothing(looker: Client, pack: KnowledgePack, fill: Fill) -> None:
    fill()
    snapshot = services.publish(pack.pk, None, "v1")
    assert publish(looker, pack, "v2").status_code == 403
    delete = reverse("admin:knowledge_snapshot_delete", args=[snapshot.pk])
    assert looker.post(delete, {"post": "yes"}).status_code == 403
    body = {"action": "delete_selected", "_selected_action": [str(snapshot.pk)], "post": "yes"}
    looker.post(reverse("admin:knowledge_snapshot_changelist"), body)
    assert Snapshot.objects.count() == 1
