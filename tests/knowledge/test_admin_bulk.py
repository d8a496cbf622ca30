"""What is done to many entries at once: a few in the request, more by a worker with a page that shows how far it is."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from knowledge import services
from knowledge.bulk_tasks import run_bulk_job
from knowledge.models import Entry, KnowledgePack
from knowledge.services import bulk_jobs
from realtime import nudge
from tests.knowledge.test_admin_packs import LOGIN, looker, staff

__all__ = ["looker", "staff"]  # fixtures
COUNT = 7

pytestmark = pytest.mark.usefixtures("no_job_left")


@pytest.fixture
def many(pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch) -> KnowledgePack:
    """More entries than a request waits for, and than fit into two slices."""
    monkeypatch.setattr(bulk_jobs, "AT_ONCE", 2)
    monkeypatch.setattr(bulk_jobs, "SLICE", 3)
    services.add_entries(pack, None, [{"title": f"Entry {n}", "content": f"Words {n}."} for n in range(COUNT)])
    return pack


def act(client: Client, action: str, query: str = "", **extra: Any) -> Any:
    everything = [str(pk) for pk in Entry.objects.values_list("pk", flat=True)]
    body = {"action": action, "_selected_action": everything, **extra}
    return client.post(reverse("admin:knowledge_entry_changelist") + query, body)


def job_of(response: Any) -> UUID:
    return UUID(response.url.rstrip("/").rpartition("/")[2])


def test_many_entries_are_left_to_a_worker_and_shown_on_the_way(staff: Client, many: KnowledgePack) -> None:
    response = act(staff, "disable")
    job = job_of(response)
    shown = staff.get(response.url).content.decode()
    assert f"0 of {COUNT} entries" in shown
    assert 'data-live="on"' in shown
    assert Entry.objects.filter(enabled=True).count() == COUNT  # nothing was done in the request
    bulk_jobs._slice(bulk_jobs.progress(job))
    assert f"3 of {COUNT} entries" in staff.get(response.url).content.decode()
    run_bulk_job(str(job))
    seen = bulk_jobs.progress(job)
    assert (seen.state, seen.done, seen.changed, seen.unchanged, seen.refused) == ("done", COUNT, COUNT, 0, 0)
    assert not Entry.objects.filter(enabled=True).exists()
    assert 'data-live=""' in staff.get(response.url).content.decode()
    event = many.events.filter(type="entry.updated").latest("seq")
    assert event.payload["actor"]["name"] == "Staff"


def test_a_slice_that_is_done_twice_changes_nothing_more(staff: Client, many: KnowledgePack) -> None:
    """As when a worker dies between its commit and the record."""
    job = job_of(act(staff, "tag", apply="1", add="checked", remove=""))
    bulk_jobs._slice(bulk_jobs.progress(job))
    nudge.client().hset(bulk_jobs._key(job), "done", "0")
    run_bulk_job(str(job))
    seen = bulk_jobs.progress(job)
    assert (seen.state, seen.unchanged) == ("done", 3)
    assert all(entry.tags == ["checked"] for entry in Entry.objects.all())
    assert many.events.filter(type="entry.updated").count() == COUNT


def test_two_workers_do_not_do_it_together(staff: Client, many: KnowledgePack) -> None:
    job = job_of(act(staff, "disable"))
    lock = nudge.client().lock(f"{bulk_jobs._key(job)}:lock", timeout=5)
    assert lock.acquire(blocking=False)
    assert not bulk_jobs.work(job, time.monotonic() + 5)
    assert bulk_jobs.progress(job).done == 0
    lock.release()
    assert bulk_jobs.work(job, 0)  # out of time at once: something is left
    assert not bulk_jobs.work(job, time.monotonic() + 5)
    assert bulk_jobs.progress(job).done == COUNT


def test_it_is_stopped_and_what_was_done_stays(staff: Client, looker: Client, many: KnowledgePack) -> None:
    job = job_of(act(staff, "disable"))
    bulk_jobs._slice(bulk_jobs.progress(job))
    stop = reverse("admin:knowledge_entry_bulk_stop", args=[job])
    assert staff.get(stop).status_code == 405
    assert looker.post(stop).status_code == 403
    assert staff.post(stop).status_code == 302
    run_bulk_job(str(job))
    assert Entry.objects.filter(enabled=False).count() == 3
    assert "stopped" in staff.get(reverse("admin:knowledge_entry_bulk", args=[job])).content.decode()


def test_whoever_has_lost_the_permission_goes_on_with_nothing(staff: Client, many: KnowledgePack) -> None:
    job = job_of(act(staff, "disable"))
    User.objects.filter(email="staff@example.org").update(is_superuser=False)
    run_bulk_job(str(job))
    seen = bulk_jobs.progress(job)
    assert (seen.state, seen.done) == ("stopped", 0)
    assert seen.reasons == ["Whoever asked for this may not do it any more."]
    assert Entry.objects.filter(enabled=True).count() == COUNT


def test_a_silent_job_is_woken_by_whoever_looks(
    staff: Client, many: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(act(staff, "disable"))
    sent: list[object] = []
    monkeypatch.setattr(nudge, "send_task", lambda *args, **_named: sent.append(args))
    page = reverse("admin:knowledge_entry_bulk", args=[job])
    staff.get(page)
    assert sent == []
    nudge.client().hset(bulk_jobs._key(job), "at", str(time.time() - 60))
    staff.get(page)
    staff.get(page)
    assert sent == [(bulk_jobs.TASK, [str(job)], "index")]


def test_the_sweeper_wakes_a_silent_job_until_it_is_done(
    staff: Client, many: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(act(staff, "disable"))
    sent: list[object] = []
    monkeypatch.setattr(nudge, "send_task", lambda *args, **_named: sent.append(args[1]))
    nudge.client().hset(bulk_jobs._key(job), "at", str(time.time() - 60))
    bulk_jobs.wake_lost()
    assert [str(job)] in sent
    run_bulk_job(str(job))
    bulk_jobs.wake_lost()
    assert not nudge.client().sismember(bulk_jobs.RUNNING, str(job))


def test_an_unknown_job_is_not_there_and_its_task_does_nothing(staff: Client) -> None:
    assert staff.get(reverse("admin:knowledge_entry_bulk", args=[uuid4()])).status_code == 404
    run_bulk_job(str(uuid4()))


def test_what_a_pack_refuses_is_counted_and_said(staff: Client, many: KnowledgePack) -> None:
    services.update_pack(many.pk, {"status": "active"})
    services.update_pack(many.pk, {"status": "archived"})
    job = job_of(act(staff, "disable"))
    run_bulk_job(str(job))
    seen = bulk_jobs.progress(job)
    assert (seen.state, seen.changed, seen.refused) == ("done", 0, COUNT)
    assert set(seen.reasons) == {"Notes: the pack is archived: its entries cannot be changed"}


def test_the_trash_is_asked_for_first_shown_and_emptied_again(staff: Client, many: KnowledgePack) -> None:
    asked = act(staff, "delete_selected").content.decode()
    assert f"{COUNT} entries" in asked
    assert "Move to the trash" in asked
    assert Entry.objects.filter(deleted_at=None).count() == COUNT
    run_bulk_job(str(job_of(act(staff, "delete_selected", apply="1"))))
    assert not Entry.objects.filter(deleted_at=None).exists()
    entries = reverse("admin:knowledge_entry_changelist")
    assert b"Entry 3" not in staff.get(entries).content
    trash = staff.get(f"{entries}?trash=1").content
    assert b"Entry 3" in trash
    assert b"Restore from the trash" in trash
    run_bulk_job(str(job_of(act(staff, "restore_selected", "?trash=1"))))
    assert Entry.objects.filter(deleted_at=None).count() == COUNT


def test_entries_are_moved_to_another_pack(staff: Client, many: KnowledgePack, user: User) -> None:
    other = services.create_pack(user, name="Other")
    assert b"Pack to move to" in act(staff, "move").content
    assert b"This field is required" in act(staff, "move", apply="1", to="").content
    run_bulk_job(str(job_of(act(staff, "move", apply="1", to=str(other.pk)))))
    assert Entry.objects.filter(pack=other).count() == COUNT


@pytest.mark.parametrize(
    "action", ["enable", "disable", "tag", "move", "mark_reviewed", "retry_indexing", "delete_selected"]
)
def test_who_may_only_look_changes_nothing(looker: Client, many: KnowledgePack, user: User, action: str) -> None:
    other = services.create_pack(user, name="Other")
    before = KnowledgePack.objects.get(pk=many.pk).last_seq
    act(looker, action, apply="1", post="yes", add="x", to=str(other.pk))
    assert KnowledgePack.objects.get(pk=many.pk).last_seq == before


def test_the_trash_needs_its_own_permission(many: KnowledgePack) -> None:
    editor = User.objects.create_user("editor@example.org", "a long password", is_staff=True)
    editor.user_permissions.set(Permission.objects.filter(codename__in=["view_entry", "change_entry"]))
    client = Client()
    client.force_login(editor, backend=LOGIN)
    act(client, "delete_selected", apply="1")
    assert Entry.objects.filter(deleted_at=None).count() == COUNT
    run_bulk_job(str(job_of(act(client, "disable"))))
    assert not Entry.objects.filter(enabled=True).exists()
