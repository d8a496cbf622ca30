"""Pages on which a pack is shared, moved, exported, copied, archived, thrown away and brought back."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from knowledge import services
from knowledge.admin.packs import KnowledgePackAdmin
from knowledge.models import EmbeddingModel, Entry, GoldenQuestion, KnowledgePack, PackShare, SpaceState
from tests.knowledge.conftest import Fill

LOGIN = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("staff@example.org", name="Staff"), backend=LOGIN)
    return client


@pytest.fixture
def looker(db: None) -> Client:
    """Staff who may see everything and change nothing."""
    person = User.objects.create_user("looker@example.org", "a long password", is_staff=True)
    person.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client()
    client.force_login(person, backend=LOGIN)
    return client


def page(pack: KnowledgePack, name: str) -> str:
    return reverse(f"admin:knowledge_knowledgepack_{name}", args=[pack.pk])


def do(client: Client, pack: KnowledgePack, where: str, step: str, **values: Any) -> Any:
    return client.post(page(pack, where), {"do": step, **values})


def errors(response: Any, step: str, field: str) -> list[str]:
    assert response.status_code == 200
    found: list[str] = response.context["forms"][step].errors.get(field, [])
    return found


STEPS = [(one.name, step) for one in KnowledgePackAdmin.pages for step in one.steps]


@pytest.mark.parametrize(("name", "step"), STEPS)
def test_who_may_only_look_does_nothing(looker: Client, pack: KnowledgePack, name: str, step: str) -> None:
    exports = step in ("export", "export_questions")  # which is looking
    before = pack.last_seq
    assert do(looker, pack, name, step, format="jsonl").status_code == (200 if exports else 403)
    pack.refresh_from_db()
    assert (pack.last_seq, pack.status) == (before, "draft")


def test_a_page_has_no_other_steps_than_its_own(staff: Client, pack: KnowledgePack) -> None:
    assert do(staff, pack, "sharing", "trash").status_code == 400
    assert do(staff, pack, "hits", "trash").status_code == 405


def test_forms_are_only_shown_to_those_who_may_use_them(looker: Client, staff: Client, pack: KnowledgePack) -> None:
    for name in ("sharing", "embedding", "questions", "review"):
        assert b'name="do"' in staff.get(page(pack, name)).content, name
        assert b'name="do"' not in looker.get(page(pack, name)).content, name
    assert b"Transfer ownership" in staff.get(page(pack, "sharing")).content
    assert b"Transfer ownership" not in looker.get(page(pack, "sharing")).content
    assert b"Move to the trash" not in looker.get(page(pack, "manage")).content


# --- Sharing ---


def test_a_pack_is_shared_changed_and_taken_back(staff: Client, pack: KnowledgePack, other_user: User) -> None:
    assert do(staff, pack, "sharing", "share", email="BOB@example.org", role="viewer").status_code == 302
    share = PackShare.objects.get()
    assert (share.user, share.role, str(share.created_by)) == (other_user, "viewer", "staff@example.org")
    assert b"bob@example.org" in staff.get(page(pack, "sharing")).content
    assert do(staff, pack, "sharing", "change_role", share=share.pk, role="editor").status_code == 302
    share.refresh_from_db()
    assert share.role == "editor"
    assert do(staff, pack, "sharing", "unshare", share=share.pk).status_code == 302
    assert not PackShare.objects.exists()
    event = pack.events.filter(type="pack.unshared").get()
    assert event.payload["actor"]["name"] == "Staff"
    assert "bob@example.org has no share" in LogEntry.objects.latest("action_time").change_message


@pytest.mark.parametrize(
    ("step", "email", "text"),
    [
        ("share", "nobody@example.org", "Nobody has an account"),
        ("share", "ada@example.org", "The owner of a pack"),
        ("share", "not an address", "valid email"),
        ("transfer", "nobody@example.org", "Nobody has an account"),
        ("transfer", "ada@example.org", "theirs already"),
    ],
)
def test_a_wrong_person_is_an_error_beside_the_address(
    staff: Client, pack: KnowledgePack, step: str, email: str, text: str
) -> None:
    response = do(staff, pack, "sharing", step, email=email, role="viewer")
    assert text in errors(response, step, "email")[0]
    assert text in response.content.decode()


def test_a_share_of_another_pack_is_not_touched(
    staff: Client, pack: KnowledgePack, user: User, other_user: User
) -> None:
    other = services.create_pack(user, name="Other")
    share, _ = services.share(other.pk, user, other_user.email, "viewer")
    response = do(staff, pack, "sharing", "unshare", share=share.pk)
    assert [str(one) for one in response.context["messages"]] == ["There is no such share."]
    assert PackShare.objects.count() == 1


def test_ownership_is_transferred(staff: Client, pack: KnowledgePack, user: User, other_user: User) -> None:
    assert do(staff, pack, "sharing", "transfer", email=other_user.email).status_code == 302
    pack.refresh_from_db()
    assert (pack.owner, pack.shares.get().user) == (other_user, user)


# --- Vectors ---


def test_a_pack_is_moved_to_another_model_and_back(staff: Client, pack: KnowledgePack, fill: Fill) -> None:
    fill()
    EmbeddingModel.objects.create(
        name="big", provider="openai", base_url="http://127.0.0.1:9/v1", model="big-1", dimension=512
    )
    assert do(staff, pack, "embedding", "choose", model="big").status_code == 302
    future = pack.spaces.get(state=SpaceState.FUTURE)
    assert future.model == "big-1"
    shown = staff.get(page(pack, "embedding")).content.decode()
    assert 'data-live="on"' in shown
    assert "0 of 3" in shown
    assert do(staff, pack, "embedding", "cancel_migration").status_code == 302
    assert not pack.spaces.filter(state=SpaceState.FUTURE).exists()
    said = [str(one) for one in do(staff, pack, "embedding", "cancel_migration").context["messages"]]
    assert said[-1] == "no other vectors are being made for this pack"
    assert do(staff, pack, "embedding", "reembed").status_code == 302
    assert pack.spaces.filter(state=SpaceState.FUTURE).count() == 1


def test_a_model_that_is_not_there_is_an_error_beside_the_field(staff: Client, pack: KnowledgePack) -> None:
    assert errors(do(staff, pack, "embedding", "choose", model="none such"), "choose", "model")


# --- Export, copy, archive, trash ---


def test_a_pack_is_downloaded(staff: Client, pack: KnowledgePack, fill: Fill) -> None:
    fill(index=False)
    response = do(staff, pack, "manage", "export", format="jsonl")
    lines = [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]
    assert [line.get("title") for line in lines[1:]] == [
        "Solar panels on the roof",
        "Sourdough bread",
        "The café in Zürich",
    ]
    assert response["Content-Disposition"] == 'attachment; filename="notes.jsonl"'
    assert b"".join(do(staff, pack, "manage", "export", format="markdown").streaming_content).startswith(b"PK")
    assert errors(do(staff, pack, "manage", "export", format="pdf"), "export", "format")


def test_a_pack_is_copied_now_or_as_a_snapshot_has_it(staff: Client, pack: KnowledgePack, fill: Fill) -> None:
    solar, *_ = fill()
    snapshot = services.publish(pack.pk, None, "v1")
    assert solar.entry
    services.delete_entry(solar.entry.pk)
    do(staff, pack, "manage", "fork", name="Now", snapshot="")
    do(staff, pack, "manage", "fork", name="Then", snapshot=str(snapshot.pk))
    copies = KnowledgePack.objects.filter(forked_from=pack).values_list("name", "entry_count", "owner__email")
    assert set(copies) == {("Now", 2, "staff@example.org"), ("Then", 3, "staff@example.org")}


def test_a_pack_is_archived_taken_up_thrown_away_and_brought_back(
    staff: Client, pack: KnowledgePack, fill: Fill
) -> None:
    fill()
    for step, status in (("archive", "archived"), ("activate", "active"), ("trash", "deleted"), ("restore", "active")):
        assert do(staff, pack, "manage", step).status_code == 302, step
        pack.refresh_from_db()
        assert pack.status == status
        assert staff.get(page(pack, "manage")).status_code == 200
    assert LogEntry.objects.filter(object_id=str(pack.pk)).count() == 4


def test_an_illegal_step_says_why(staff: Client, pack: KnowledgePack) -> None:
    response = do(staff, pack, "manage", "archive")  # a draft cannot be
    assert "cannot become archived" in str(next(iter(response.context["messages"])))


@pytest.mark.parametrize("step", ["export", "fork", "activate", "archive", "trash"])
def test_what_is_in_the_trash_can_only_be_restored(staff: Client, pack: KnowledgePack, step: str) -> None:
    services.delete_pack(pack.pk)
    assert do(staff, pack, "manage", step, format="jsonl", name="Copy").status_code == 200
    assert KnowledgePack.objects.get().status == "deleted"


def test_what_was_in_the_trash_too_long_stays_there(staff: Client, pack: KnowledgePack) -> None:
    services.delete_pack(pack.pk)
    KnowledgePack.objects.update(deleted_at=timezone.now() - timedelta(days=31))
    assert "no such pack in the trash" in do(staff, pack, "manage", "restore").content.decode()


def test_the_list_hides_the_trash_and_acts_on_many(staff: Client, user: User) -> None:
    packs = [services.create_pack(user, name=f"Pack {n}") for n in range(3)]
    for pack in packs[:2]:
        services.update_pack(pack.pk, {"status": "active"})
    packs_list = reverse("admin:knowledge_knowledgepack_changelist")
    chosen = [str(pack.pk) for pack in packs]

    def act(action: str, query: str = "", **extra: str) -> dict[str, str]:
        staff.post(packs_list + query, {"action": action, "_selected_action": chosen, **extra})
        return dict(KnowledgePack.objects.values_list("name", "status"))

    assert act("archive") == {"Pack 0": "archived", "Pack 1": "archived", "Pack 2": "draft"}
    assert act("activate")["Pack 0"] == "active"
    assert set(act("delete_selected", post="yes").values()) == {"deleted"}
    assert b"Pack 0" not in staff.get(packs_list).content
    assert b"Pack 0" in staff.get(f"{packs_list}?status=deleted").content
    assert set(act("restore").values()) == {"deleted"}  # is not there in this list
    assert act("restore", "?status=deleted") == {"Pack 0": "active", "Pack 1": "active", "Pack 2": "active"}


def test_actions_on_packs_are_refused_to_those_who_may_only_look(looker: Client, pack: KnowledgePack) -> None:
    services.update_pack(pack.pk, {"status": "active"})
    body = {"action": "archive", "_selected_action": [str(pack.pk)]}
    looker.post(reverse("admin:knowledge_knowledgepack_changelist"), body)
    assert KnowledgePack.objects.get().status == "active"


# --- Golden questions as a file ---


def upload(text: str | bytes, name: str = "questions.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode() if isinstance(text, str) else text)


def test_questions_come_from_a_file_and_go_into_one(staff: Client, pack: KnowledgePack, fill: Fill) -> None:
    solar, *_ = fill(index=False)
    assert solar.entry
    table = (
        "question,expected\r\nWhat bakes?,Sourdough bread\r\nWhere is food?,bread\r\nWhere is food?,cafe\r\n"
        f"What shines?,{solar.entry.pk}\r\nWhat is missing?,Nothing such\r\n"
    )
    response = do(staff, pack, "questions", "import_questions", file=upload(table))
    said = [str(one) for one in staff.get(response.url).context["messages"]]
    assert said[0] == "What is missing?: the pack has not one entry named Nothing such."
    assert said[1] == "3 questions were added, 1 refused."
    found = {one.question: one.expected.count() for one in GoldenQuestion.objects.all()}
    assert found == {"What bakes?": 1, "Where is food?": 2, "What shines?": 1}
    written = do(staff, pack, "questions", "export_questions").content.decode()
    assert sorted(written.splitlines()) == sorted(
        ["question,expected", "What bakes?,bread", "Where is food?,bread", "Where is food?,cafe", "What shines?,solar"]
    )
    GoldenQuestion.objects.all().delete()
    do(staff, pack, "questions", "import_questions", file=upload(written))
    assert {one.question: one.expected.count() for one in GoldenQuestion.objects.all()} == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,b\n1,2\n", "must name the columns"),
        (b"\xff\xfe", "not UTF-8"),
        ("question,expected\n", "has 0 questions"),
        ('question,expected\n"never closed', "no CSV"),
    ],
)
def test_a_file_that_is_no_table_is_an_error_beside_it(
    staff: Client, pack: KnowledgePack, text: str | bytes, why: str
) -> None:
    response = do(staff, pack, "questions", "import_questions", file=upload(text))
    assert why in errors(response, "import_questions", "file")[0]


def test_a_title_that_two_entries_have_names_neither(staff: Client, pack: KnowledgePack, fill: Fill) -> None:
    fill([{"title": "Twice", "content": "One."}, {"title": "Twice", "content": "Two."}], index=False)
    do(staff, pack, "questions", "import_questions", file=upload("question,expected\nWhich?,Twice\n"))
    assert not GoldenQuestion.objects.exists()
    assert Entry.objects.count() == 2
