"""Imports through the API and the job, with the child process that reads the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings, settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts.models import User
from knowledge import services
from knowledge.imports import job as imports_job
from knowledge.models import Entry, Import, ImportItem, KnowledgePack, PackEvent, PackShare
from knowledge.services import imports as service
from realtime import nudge
from realtime.errors import IllegalState
from tests.conftest import Api
from tests.knowledge import hostile
from tests.knowledge.conftest import BREAD, ITEMS, Fill

pytestmark = pytest.mark.django_db(transaction=True)

Send = Callable[..., Any]


@pytest.fixture(autouse=True)
def data_dir(settings: LazySettings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path / "imports"


@pytest.fixture
def send(api: Api, pack: KnowledgePack) -> Send:
    """Upload a file as a form does; the answer."""

    def upload(name: str, data: bytes | str, client: Api | None = None, headers: Any = None, **fields: Any) -> Any:
        content = data.encode() if isinstance(data, str) else data
        body = {"file": SimpleUploadedFile(name, content), **fields}
        path = f"/api/knowledge-packs/{pack.pk}/imports"
        return (client or api).client.post(path, body, headers=headers or {})

    return upload


@pytest.fixture
def bring(send: Send) -> Callable[..., Import]:
    """Upload a file and do what a worker does after the nudge."""

    def upload(name: str, data: bytes | str, **fields: Any) -> Import:
        answer = send(name, data, **fields)
        assert answer.status_code == 202, answer.content
        imports_job.run(answer.json()["id"])
        return Import.objects.get(pk=answer.json()["id"])

    return upload


Bring = Callable[..., Import]


def contents(pack: KnowledgePack) -> list[tuple[str, str]]:
    entries = Entry.objects.filter(pack=pack, deleted_at=None).select_related("revision").order_by("ordinal")
    return [(entry.title, entry.revision.content) for entry in entries]


def kinds(pack: KnowledgePack) -> list[str]:
    return [kind for kind in PackEvent.objects.filter(stream=pack).values_list("type", flat=True) if "import" in kind]


# --- What people send -----------------------------------------------------------------------------------------------------


GOOD = [
    pytest.param("a.md", "# Solar\n\nPanels.", "Solar", "Panels.", id="markdown"),
    pytest.param("notes_on_bread.txt", "Flour and water.", "notes on bread", "Flour and water.", id="text"),
    pytest.param("a.html", "<title>Page</title><p>One <b>two</b></p><script>evil()</script>", "Page", "One **two**", id="html"),
    pytest.param("a.pdf", hostile.pdf("First page", "Second page", title="Report"), "Report", "First page\n\nSecond", id="pdf"),
    pytest.param("a.docx", hostile.docx("Hello", "World", title="Letter"), "Letter", "Hello\n\nWorld", id="docx"),
    pytest.param("a.csv", "title;content\nBees;They fly", "Bees", "They fly", id="csv"),
    pytest.param("a.jsonl", '{"title":"Ants","content":"They walk"}\n', "Ants", "They walk", id="jsonl"),
    pytest.param("a.zip", hostile.zipped({"x/one.md": "# One\n\n1"}), "One", "1", id="zip"),
    pytest.param("bom.txt", b"\xef\xbb\xbfcaf\xc3\xa9", "bom", "café", id="utf-8-bom"),
    pytest.param("wide.txt", "Zürich".encode("utf-16"), "wide", "Zürich", id="utf-16"),
    pytest.param("old.txt", "Das Café in Zürich ist schön, günstig und für alle da.".encode("cp1252"), "old", "günstig", id="cp1252"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "title", "text"), GOOD)
def test_every_format_becomes_an_entry(
    bring: Bring, pack: KnowledgePack, name: str, data: bytes | str, title: str, text: str
) -> None:
    done = bring(name, data)
    ((found, content),) = contents(pack)
    assert (done.status, found) == ("completed", title)
    assert text in content


def test_nothing_of_a_page_runs(bring: Bring, pack: KnowledgePack) -> None:
    page = '<h1 onclick="x()">T</h1><a href="javascript:x()">l</a><iframe src="//e"></iframe><img src=x onerror=x()><style>p{}</style>'
    bring("a.html", page)
    assert contents(pack) == [("T", "# T\n\nl")]


def test_front_matter_gives_the_fields(bring: Bring, pack: KnowledgePack) -> None:
    front = "---\ntitle: Tides\ntags: [sea, moon]\nauthor: Ada\nexternal_id: tides\n"
    front += "source_url: https://example.org/t\ndate: 2024-05-01\n---\n"
    bring("a.md", front + "High and low.", tags="school")
    entry = Entry.objects.get()
    assert (entry.title, entry.tags, entry.external_id) == ("Tides", ["sea", "moon", "school"], "tides")
    assert entry.metadata == {"author": "Ada", "date": "2024-05-01"}


def test_a_table_brings_tags_and_metadata(bring: Bring, pack: KnowledgePack) -> None:
    table = 'Title,content,tags,metadata.Year,external_id\n"A, b","line 1\nline 2",x;y,1999,a\nShort,,,,\n'
    done = bring("t.csv", table)
    entry = Entry.objects.get()
    assert (entry.title, entry.tags, entry.metadata) == ("A, b", ["x", "y"], {"Year": "1999"})
    bad = done.items.get(status="failed")
    assert (bad.source, "content" in bad.error) == ("t.csv, line 4", True)


def test_a_long_text_is_split_at_its_headings(bring: Bring, pack: KnowledgePack) -> None:
    section = "Heat flows through the wall.\n\n" * 4000
    bring("long.md", f"# Long\n\n{section}## Two\n\n{section}")
    titles, texts = zip(*contents(pack), strict=True)
    assert titles == ("Long (1/2)", "Long (2/2)")
    assert texts[1].startswith("## Two")


def test_folders_become_tags_and_paths_ids_when_asked(bring: Bring, pack: KnowledgePack) -> None:
    bring("a.zip", hostile.zipped({"energy/solar.md": "Sun"}), folder_tags="true", path_ids="true")
    entry = Entry.objects.get()
    assert (entry.tags, entry.external_id) == (["energy"], "energy/solar.md")


def test_a_bad_file_of_an_archive_fails_alone(bring: Bring, pack: KnowledgePack) -> None:
    done = bring(
        "a.zip", hostile.zipped({"good.md": "# Good\n\ntext", "bad.pdf": b"MZ\x90\x00", "in.zip": hostile.zipped({})})
    )
    assert done.status == "completed"
    assert [title for title, _ in contents(pack)] == ["Good"]
    assert {item.source: item.error for item in done.items.filter(status="failed")} == {
        "bad.pdf": "The name says that this is a PDF, but the content is a Windows program.",
        "in.zip": "An archive inside an archive is not opened.",
    }


# --- Dry runs, duplicates -------------------------------------------------------------------------------------------------


def lines(*items: Any) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)


def test_a_dry_run_shows_what_would_happen_and_changes_nothing(
    bring: Bring, api: Api, fill: Fill, pack: KnowledgePack
) -> None:
    fill(ITEMS)
    before = contents(pack)
    changed = {**BREAD, "content": "Flour and water.\nMore salt.", "tags": ["baking"]}
    job = bring("a.jsonl", lines(ITEMS[0], changed, {"title": "New", "content": "entry"}), dry_run="true")
    seen = api.get(f"/api/knowledge-packs/{pack.pk}/imports/{job.pk}").json()
    assert (seen["status"], seen["plan"]) == ("planned", {"created": 1, "updated": 1, "unchanged": 1})
    items = api.get(f"/api/knowledge-packs/{pack.pk}/imports/{job.pk}/items").json()["results"]
    assert items[1]["diff"] == {"fields": ["content", "tags"], "lines_added": 2, "lines_removed": 1}
    assert contents(pack) == before
    assert not job.path


def test_a_plan_is_committed_once(bring: Bring, api: Api, pack: KnowledgePack) -> None:
    job = bring("a.md", "# A\n\nb", dry_run="true")
    path = f"/api/knowledge-packs/{pack.pk}/imports/{job.pk}"
    assert api.post(f"{path}/commit").status_code == 202
    imports_job.run(job.pk)
    assert api.get(path).json()["counts"]["created"] == 1
    assert (api.post(f"{path}/commit").status_code, len(contents(pack))) == (409, 1)
    assert kinds(pack) == ["import.created", "import.progress", "import.planned", "import.progress", "import.progress",
                           "import.completed"]  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "status", "tags"),
    [("skip", "unchanged", ["old"]), ("update", "updated", ["new"]), ("fail", "failed", ["old"])],
)
def test_duplicates_are_skipped_updated_or_refused(
    bring: Bring, fill: Fill, policy: str, status: str, tags: list[str]
) -> None:
    fill([{"title": "T", "content": "same", "tags": ["old"]}])
    twin = {"title": "T", "content": "same", "tags": ["new"]}
    done = bring("a.jsonl", lines(twin, {"title": "other", "content": "x"}), on_duplicate=policy)
    assert (done.items.get(ordinal=1).status, done.items.get(ordinal=2).status) == (status, "created")
    assert (Entry.objects.get(title="T").tags, Entry.objects.count()) == (tags, 2)


def test_the_plan_tells_what_the_commit_does(bring: Bring, fill: Fill) -> None:
    fill(ITEMS)
    odd = [
        *ITEMS,
        {**BREAD, "title": "Rye"},
        {"title": "n", "content": "n"},
        {"title": "n", "content": "n"},
        {"title": ""},
    ]
    job = bring("a.jsonl", lines(*odd), dry_run="true")
    service.commit_import(job.pk)
    imports_job.run(job.pk)
    items = list(job.items.order_by("ordinal"))
    assert [item.planned or "failed" for item in items] == [item.status for item in items]


# --- Cancel, crash, fencing -----------------------------------------------------------------------------------------------


def test_a_cancelled_plan_writes_nothing(bring: Bring, api: Api, pack: KnowledgePack) -> None:
    job = bring("a.md", "# A\n\nb", dry_run="true")
    path = f"/api/knowledge-packs/{pack.pk}/imports/{job.pk}"
    assert api.post(f"{path}/cancel").json()["counts"]["skipped"] == 1
    assert (api.post(f"{path}/commit").status_code, api.post(f"{path}/cancel").status_code) == (409, 409)
    assert contents(pack) == []


def many(number: int) -> str:
    return lines(*({"title": f"Entry {i}", "content": f"text {i}"} for i in range(number)))


def test_cancelling_stops_between_batches(
    bring: Bring, send: Send, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = send("a.jsonl", many(250)).json()["id"]
    real = imports_job._write_batch

    def cancel_after_one(work: imports_job.Work, items: list[ImportItem]) -> None:
        real(work, items)
        service.cancel_import(work.job.pk)

    monkeypatch.setattr(imports_job, "_write_batch", cancel_after_one)
    imports_job.run(job_id)
    job = Import.objects.get(pk=job_id)
    assert (job.status, job.items.filter(status="created").count(), job.items.filter(status="skipped").count()) == (
        "cancelled", 100, 150,
    )  # fmt: skip
    assert len(contents(pack)) == 100


class Crash(BaseException):
    pass


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("moment", ["before", "inside", "after"])
def test_a_crash_while_writing_repeats_and_loses_nothing(
    send: Send, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch, moment: str, batch: int
) -> None:
    job_id = send("a.jsonl", many(250), on_duplicate="fail").json()["id"]
    done = 0

    def crash_at(target: Any, when: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            if when == "before" and done == batch:
                raise Crash
            result = target(*args, **kwargs)
            if when == "after" and done == batch:
                raise Crash
            done += 1
            return result

        return call

    if moment == "inside":
        monkeypatch.setattr(services, "add_entries", crash_at(services.add_entries, "after"))
    else:
        monkeypatch.setattr(imports_job, "_write_batch", crash_at(imports_job._write_batch, moment))
    with pytest.raises(Crash):
        imports_job.run(job_id)
    monkeypatch.undo()
    imports_job.run(job_id)
    assert Import.objects.get(pk=job_id).status == "writing"  # the lease of the dead worker still holds
    Import.objects.update(lease_expires_at=timezone.now())
    imports_job.run(job_id)
    assert Import.objects.get(pk=job_id).status == "completed"
    assert [title for title, _ in contents(pack)] == [f"Entry {i}" for i in range(250)]


def test_a_crash_while_reading_begins_anew(send: Send, pack: KnowledgePack, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = send("a.jsonl", many(250)).json()["id"]
    real, calls = imports_job._store, []

    def crash_at_the_second(work: imports_job.Work, items: list[ImportItem]) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Crash
        real(work, items)

    monkeypatch.setattr(imports_job, "_store", crash_at_the_second)
    with pytest.raises(Crash):
        imports_job.run(job_id)
    assert ImportItem.objects.count() == 100
    monkeypatch.setattr(imports_job, "_store", real)
    Import.objects.update(lease_expires_at=timezone.now())
    imports_job.run(job_id)
    assert len(contents(pack)) == ImportItem.objects.count() == 250


def test_who_lost_the_lease_writes_nothing(send: Send, pack: KnowledgePack) -> None:
    job_id = send("a.md", "# A\n\nb").json()["id"]
    slow = imports_job.claim(job_id)
    assert slow
    Import.objects.update(lease_expires_at=timezone.now())
    imports_job.run(job_id)
    with pytest.raises(imports_job.Fenced):
        imports_job._read(slow)
    assert (len(contents(pack)), Import.objects.get().status) == (1, "completed")


def test_an_import_that_kills_its_workers_is_given_up(send: Send, data_dir: Path) -> None:
    job_id = send("a.md", "x").json()["id"]
    for _ in range(imports_job.MAX_ATTEMPTS):
        assert imports_job.claim(job_id)
        Import.objects.update(lease_expires_at=timezone.now())
    assert imports_job.claim(job_id) is None
    assert Import.objects.get().status == "failed"
    assert list(data_dir.iterdir()) == []


@pytest.mark.forges
def test_an_import_into_an_archived_pack_fails(send: Send, bring: Bring, pack: KnowledgePack) -> None:
    job = bring("a.md", "x", dry_run="true")
    other = send("b.md", "y").json()["id"]
    KnowledgePack.objects.update(status="active")
    KnowledgePack.objects.update(status="archived")
    with pytest.raises(IllegalState):
        service.commit_import(job.pk)
    imports_job.run(other)
    assert Import.objects.get(pk=other).error == "the pack is archived: its entries cannot be changed"
    assert send("c.md", "z").status_code == 409


def test_lost_imports_are_found(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = send("a.md", "x").json()["id"]
    sent: list[Any] = []
    monkeypatch.setattr(nudge, "send_task", lambda *args: sent.append(args))
    imports_job.nudge_lost()
    assert sent == [("knowledge.tasks.run_import", [job_id], "index")]


# --- The API --------------------------------------------------------------------------------------------------------------


def test_an_upload_answers_at_once_and_is_private(send: Send, data_dir: Path, pack: KnowledgePack) -> None:
    answer = send("a.md", "# A", tags=["x", "y,z"], source_url="https://example.org/a")
    body = answer.json()
    assert (answer.status_code, answer["Location"]) == (202, f"/api/knowledge-packs/{pack.pk}/imports/{body['id']}")
    assert (body["status"], body["filename"], body["options"]) == (
        "queued", "a.md", {"tags": ["x", "y", "z"], "source_url": "https://example.org/a"},
    )  # fmt: skip
    (stored,) = data_dir.iterdir()
    assert (stored.stat().st_mode & 0o777, data_dir.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_upload_is_gone_when_the_import_ends(bring: Bring, data_dir: Path) -> None:
    bring("a.md", "# A\n\nb")
    bring("b.zip", b"PK\x03\x04 broken")
    assert list(data_dir.iterdir()) == []


def test_an_upload_is_stopped_at_the_limit(send: Send, settings: LazySettings, data_dir: Path) -> None:
    settings.IMPORT_MAX_BYTES = 1000
    assert send("a.md", "x" * 1001).json()["code"] == "too_large"
    assert send("a.md", "x" * 100_000).status_code == 413
    assert not data_dir.exists() or list(data_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"on_duplicate": "maybe"}, "/on_duplicate"),
        ({"colour": "red"}, "/colour"),
        ({"dry_run": "perhaps"}, "/dry_run"),
    ],
    ids=["choice", "unknown", "boolean"],
)
def test_wrong_fields_are_named_and_leave_no_file(send: Send, data_dir: Path, fields: Any, pointer: str) -> None:
    answer = send("a.md", "x", **fields)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer)
    assert list(data_dir.iterdir()) == []


def test_a_request_without_anything_to_import_is_refused(api: Api, pack: KnowledgePack) -> None:
    path = f"/api/knowledge-packs/{pack.pk}/imports"
    assert api.post(path, {}).json()["code"] == "nothing_to_import"
    assert api.post(path, []).status_code == 400
    assert api.client.post(path, {"tags": "x"}).json()["errors"][0]["pointer"] == "/file"


def test_a_repeated_upload_is_one_import(send: Send) -> None:
    key = {"Idempotency-Key": "one"}
    first, again = send("a.md", "x", headers=key), send("a.md", "x", headers=key)
    assert (again.json(), again["Location"], Import.objects.count()) == (first.json(), first["Location"], 1)
    assert send("a.md", "y", headers=key).status_code == 422


def test_items_come_in_order_and_pages(bring: Bring, api: Api, pack: KnowledgePack) -> None:
    job = bring("a.jsonl", many(5) + "{}\n")
    path = f"/api/knowledge-packs/{pack.pk}/imports/{job.pk}/items"
    first = api.get(f"{path}?limit=4").json()
    second = api.get(first["next"]).json()
    assert [item["ordinal"] for item in first["results"] + second["results"]] == [1, 2, 3, 4, 5, 6]
    assert (second["next"], first["previous"], api.get(second["previous"]).json()["results"]) == (
        None,
        None,
        first["results"],
    )
    assert [item["source"] for item in api.get(f"{path}?status=failed").json()["results"]] == ["a.jsonl, line 6"]
    assert api.get(f"{path}?cursor=nonsense").json()["code"] == "bad_cursor"


@pytest.mark.parametrize("role", [None, "viewer", "editor"])
def test_editors_import_viewers_look_strangers_see_nothing(
    send: Send, bring: Bring, other_api: Api, other_user: User, pack: KnowledgePack, role: str | None
) -> None:
    job = bring("a.md", "x", dry_run="true")
    if role:
        PackShare.objects.create(pack=pack, user=other_user, role=role)
    path = f"/api/knowledge-packs/{pack.pk}/imports"
    reading, writing = {None: (404, 404), "viewer": (200, 403), "editor": (200, 202)}[role]
    seen = {other_api.get(p).status_code for p in (path, f"{path}/{job.pk}", f"{path}/{job.pk}/items")}
    done = {send("b.md", "y", client=other_api).status_code, other_api.post(f"{path}/{job.pk}/commit").status_code}
    assert (seen, done) == ({reading}, {writing})


def test_addresses_are_refused_while_fetching_is_off(api: Api, pack: KnowledgePack) -> None:
    answer = api.post(f"/api/knowledge-packs/{pack.pk}/imports", {"urls": ["https://example.org/a"]})
    assert (answer.status_code, answer.json()["code"]) == (403, "fetching_off")


def test_addresses_off_the_list_are_refused_at_once(api: Api, pack: KnowledgePack, settings: LazySettings) -> None:
    settings.IMPORT_URL_ALLOWLIST = ["example.org"]
    answer = api.post(
        f"/api/knowledge-packs/{pack.pk}/imports", {"urls": ["https://example.org/", "http://localhost/"]}
    )
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/urls/1")


def test_a_browser_may_send_its_csrf_token_in_the_form(user: User, pack: KnowledgePack) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    token = "a" * 32
    client.cookies[settings.CSRF_COOKIE_NAME] = token
    path = f"/api/knowledge-packs/{pack.pk}/imports"
    file = SimpleUploadedFile("a.md", b"# A\n\nb")
    assert client.post(path, {"file": file, "csrfmiddlewaretoken": "b" * 32}).status_code == 403
    file.seek(0)
    assert client.post(path, {"file": file, "csrfmiddlewaretoken": token}).status_code == 202
