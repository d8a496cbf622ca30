"""One's data as a file: what is in it, who may have it, and what becomes of it."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.db import connections, transaction
from django.test import Client
from django.utils import timezone

from accounts import audit, exports
from accounts.models import AccountExport, User
from accounts.services import create_api_key
from accounts.webhooks import endpoints as webhooks
from knowledge import services as knowledge
from realtime import cleaning
from tests.accounts.conftest import csrf
from tests.conftest import Api
from tests.support.councils import Convene, conclude

pytestmark = pytest.mark.django_db(transaction=True)

ROUTE = "/api/me/export"


@pytest.fixture(autouse=True)
def folder(settings: LazySettings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path / "account-exports"


def asked(browser: Client) -> dict[str, Any]:
    answer = browser.post(ROUTE, content_type="application/json", headers=csrf(browser))
    assert answer.status_code == 202, answer.content
    return dict(answer.json())


def made(browser: Client) -> dict[str, Any]:
    job = asked(browser)
    exports.run(AccountExport.objects.get(pk=job["id"]).pk)
    return dict(browser.get(f"{ROUTE}/{job['id']}").json())


def fetched(browser: Client, job: dict[str, Any]) -> zipfile.ZipFile:
    answer: Any = browser.get(job["file"])
    assert answer.status_code == 200
    return zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content)))


def test_everything_of_ones_own_is_in_it_and_nothing_of_others(
    browser: Client, user: User, other_user: User, convene: Convene
) -> None:
    pack = knowledge.create_pack(user, name="Sölar panels")
    knowledge.add_entry(pack, user, {"title": "Sun", "content": "It shines."})
    knowledge.create_pack(other_user, name="Not mine")
    session = conclude(user, convene())
    secret = create_api_key(user, "program")[1]
    with transaction.atomic():
        signing = webhooks.create(user, url="https://example.org/hook", events=["pack.*"])[1]
    with fetched(browser, made(browser)) as archive:
        names = archive.namelist()
        assert {f"packs/solar-panels-{pack.pk}.jsonl", f"councils/{session.pk}.json", "sign-ins.jsonl"} <= set(names)
        assert sum(name.startswith("packs/") for name in names) == 1
        account = json.loads(archive.read("account.json"))
        assert (account["email"], [key["name"] for key in account["api_keys"]]) == (user.email, ["program"])
        assert [hook["url"] for hook in account["webhooks"]] == ["https://example.org/hook"]
        council = json.loads(archive.read(f"councils/{session.pk}.json"))
        assert council["calls"]
        usage = json.loads(archive.read("usage.json"))
        assert usage["total"]["calls"] == len(council["calls"])
        everything = b"".join(archive.read(name) for name in names)
    for kept in (secret, signing, user.password, "digest", "Not mine", other_user.email):
        assert kept.encode() not in everything, kept
    header, entry = _pack_lines(browser, pack.pk)
    assert (header["name"], entry["content"]) == ("Sölar panels", "It shines.")


def _pack_lines(browser: Client, pack: object) -> list[dict[str, Any]]:
    with fetched(browser, browser.get(ROUTE).json()) as archive:
        [name] = [name for name in archive.namelist() if str(pack) in name]
        return [json.loads(line) for line in archive.read(name).splitlines()]


def test_the_audit_log_of_oneself_is_in_it_without_what_is_others(
    browser: Client, user: User, other_user: User
) -> None:
    audit.record("user.changed", user, by=other_user, fields=["name"])
    with fetched(browser, made(browser)) as archive:
        entries = [json.loads(line) for line in archive.read("audit.jsonl").splitlines()]
    by_you = {entry["action"]: entry["by_you"] for entry in entries}
    assert by_you["user.signed_in"] is True
    assert by_you["user.changed"] is False
    assert all("ip" not in entry for entry in entries if not entry["by_you"])


def test_it_is_for_its_owner_alone_and_not_for_keys(browser: Client, user: User, other_user: User) -> None:
    job = made(browser)
    other = Client()
    other.force_login(other_user, backend="django.contrib.auth.backends.ModelBackend")
    paths = [ROUTE, f"{ROUTE}/{job['id']}", job["file"]]
    assert [other.get(path).status_code for path in paths] == [404, 404, 404]
    assert [Client().get(path).status_code for path in paths] == [401, 401, 401]
    program = Api(create_api_key(user, "program")[1])
    assert [program.get(path).json()["code"] for path in paths] == ["session_required"] * 3
    assert program.post(ROUTE).json()["code"] == "session_required"
    assert browser.get(f"{ROUTE}/{uuid4()}/file").status_code == 404


def test_it_is_saved_and_never_shown(browser: Client, folder: Path) -> None:
    job = made(browser)
    answer: Any = browser.get(job["file"])
    assert answer["Content-Disposition"].startswith("attachment;")
    assert (answer["X-Content-Type-Options"], answer["Cache-Control"]) == ("nosniff", "private, no-store")
    assert len(b"".join(answer.streaming_content)) == job["size"] == int(answer["Content-Length"])
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_while_one_is_made_it_is_that_one_and_a_new_one_replaces_it(browser: Client, folder: Path) -> None:
    first = asked(browser)
    assert asked(browser)["id"] == first["id"]
    assert browser.get(f"{ROUTE}/{first['id']}/file").json()["code"] == "export_not_ready"
    exports.run(AccountExport.objects.get().pk)
    second = made(browser)
    assert second["id"] != first["id"]
    assert browser.get(f"{ROUTE}/{first['id']}").status_code == 404
    cleaning.run("account-exports", exports.CLEANING)
    assert [path.name for path in folder.iterdir()] == [AccountExport.objects.get(pk=second["id"]).path]


def test_it_expires(browser: Client, folder: Path) -> None:
    job = made(browser)
    AccountExport.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert [browser.get(path).status_code for path in (job["file"], ROUTE)] == [404, 404]
    assert cleaning.run("account-exports", exports.CLEANING).removed == 1
    assert (list(folder.iterdir()), AccountExport.objects.count()) == ([], 0)


def test_an_export_whose_worker_died_is_made_by_another(
    browser: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = AccountExport.objects.get(pk=asked(browser)["id"])

    def die(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(exports, "_conclude", die)
        with pytest.raises(RuntimeError):
            exports.run(job.pk)
    exports.run(job.pk)
    job.refresh_from_db()
    assert job.status == "running"  # its lease has not run out
    AccountExport.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert list(exports.waiting(timezone.now())) == [job]
    exports.run(job.pk)
    job.refresh_from_db()
    assert (job.status, job.attempt, len(list(folder.iterdir()))) == ("ready", 2, 1)


def test_who_is_overtaken_leaves_nothing(browser: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = AccountExport.objects.get(pk=asked(browser)["id"])
    write = exports._write

    def overtaken(*given: Any) -> None:
        write(*given)
        AccountExport.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        monkeypatch.setattr(exports, "_write", write)
        exports.run(job.pk)

    monkeypatch.setattr(exports, "_write", overtaken)
    exports.run(job.pk)
    job.refresh_from_db()
    assert (job.status, job.lease_token) == ("ready", 2)
    assert [path.name for path in folder.iterdir()] == [job.path]


def test_after_five_dead_workers_it_fails_and_another_may_be_asked_for(browser: Client) -> None:
    first = asked(browser)
    AccountExport.objects.update(status="running", attempt=5, lease_expires_at=timezone.now() - timedelta(seconds=1))
    exports.run(AccountExport.objects.get().pk)
    assert browser.get(f"{ROUTE}/{first['id']}").json()["status"] == "failed"
    assert asked(browser)["id"] != first["id"]


def test_two_requests_at_once_make_one(user: User) -> None:
    start, found = threading.Barrier(2), list[object]()

    def ask() -> None:
        try:
            start.wait(10)
            found.append(exports.request(user).pk)
        finally:
            connections.close_all()

    both = [threading.Thread(target=ask) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert len(found) == 2
    assert len(set(found)) == AccountExport.objects.count() == 1
