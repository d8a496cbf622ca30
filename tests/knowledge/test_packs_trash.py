"""The trash: restoring, and the purge, counted row by row."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import LazySettings
from django.db import connection, connections, models
from django.utils import timezone

from accounts.models import User
from council.models import Citation, CouncilSession, Decision, Run, SessionPack
from knowledge import ann, services
from knowledge.imports import files
from knowledge.models import (
    EmbeddingSpace,
    Entry,
    EntryRevision,
    EntryUse,
    Evaluation,
    EvaluationJob,
    GoldenQuestion,
    Import,
    ImportItem,
    KnowledgePack,
    SearchLog,
)
from knowledge.search import search
from knowledge.services import purging
from realtime import nudge
from tests.conftest import Api
from tests.knowledge.conftest import ITEMS, Fill, index_all
from tests.knowledge.test_api_packs import PACKS, problem, url
from tests.support.councils import Convene

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.forges]  # packs with rows in every table

Counts = dict[str, int]


def rows() -> Counts:
    tables: list[type[models.Model]] = list(apps.get_app_config("knowledge").get_models(include_auto_created=True))
    return {model.__name__: model._default_manager.count() for model in tables}


def indexes() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'vector_ann_%%'")
        return {row[0] for row in cursor.fetchall()}


def furnish(user: User, other: User, root: Path, name: str) -> KnowledgePack:
    """A pack with something in every table."""
    pack = services.create_pack(user, name=name)
    services.add_entries(pack, user, ITEMS)
    index_all(pack)
    services.share(pack.pk, user, other.email, "viewer")
    snapshot = services.publish(pack.pk, user, "v1")
    first, second, third = Entry.objects.filter(pack=pack).order_by("ordinal")
    services.revise_entry(first.pk, user, {"content": "Quite another text."})
    services.delete_entry(second.pk)
    index_all(pack)
    pack.refresh_from_db()
    GoldenQuestion.objects.create(pack=pack, question="Where?").expected.add(third)
    Evaluation.objects.create(pack=pack, mode="hybrid", index_epoch=1, questions=1, ndcg_10=1, recall_10=1, mrr=1)
    EvaluationJob.objects.create(pack=pack, mode="hybrid")
    SearchLog.objects.create(pack=pack, snapshot=snapshot, query="x", mode="hybrid", hits=0, took_ms=1)
    EntryUse.objects.create(entry=third)
    path = f"imports-{name}"
    (root / path).write_bytes(b"bytes")
    job = Import.objects.create(pack=pack, filename="a.md", path=path)
    ImportItem.objects.create(job=job, ordinal=0, source="a.md", entry=third)
    space = EmbeddingSpace.objects.get(pack=pack)
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE INDEX {ann.index_name(space.pk)} ON knowledge_passagevector"
            f" USING hnsw ((embedding::halfvec({space.dimension})) halfvec_cosine_ops) WHERE space_id = {space.pk}"
        )
    return pack


def expire(pack: KnowledgePack) -> None:
    services.delete_pack(pack.pk)
    KnowledgePack.objects.filter(pk=pack.pk).update(deleted_at=timezone.now() - timedelta(days=31))


@pytest.fixture
def root(settings: LazySettings, tmp_path: Path) -> Path:
    """Where imports keep their files."""
    settings.DATA_DIR = tmp_path
    return files.folder()


def test_the_trash_gives_back_what_it_took(api: Api, pack: KnowledgePack, fill: Fill) -> None:
    fill()
    api.patch(url(pack), {"status": "archived"})
    api.delete(url(pack))
    assert [one["id"] for one in api.get(f"{PACKS}?trash=true").json()["results"]] == [str(pack.pk)]
    assert api.get(f"{PACKS}?scope=all").json()["results"] == []
    restored = api.post(f"{url(pack)}/restore")
    assert (restored.status_code, restored.json()["status"]) == (200, "archived")
    problem(api.post(f"{url(pack)}/restore"), 404)
    assert api.get(f"{url(pack)}/events").json()["results"][-1]["type"] == "pack.restored"


def test_only_the_owner_restores_and_not_for_ever(
    api: Api, other_api: Api, other_user: User, pack: KnowledgePack
) -> None:
    services.share(pack.pk, None, other_user.email, "editor")
    services.delete_pack(pack.pk)
    problem(other_api.post(f"{url(pack)}/restore"), 404)
    KnowledgePack.objects.update(deleted_at=timezone.now() - timedelta(days=31))
    problem(api.post(f"{url(pack)}/restore"), 404)
    assert api.get(f"{PACKS}?trash=1").json()["results"] == []


@pytest.mark.forges
def test_a_purge_leaves_no_row_no_file_no_index(user: User, other_user: User, root: Path) -> None:
    kept = furnish(user, other_user, root, "kept")
    before, stored, indexed = rows(), set(root.iterdir()), indexes()
    gone = furnish(user, other_user, root, "gone")
    full = rows()
    never = {"EmbeddingModel"}
    assert {name for name, number in full.items() if number == before[name]} == never  # something in every table
    expire(gone)
    assert purging.purge(gone.pk) is False
    assert rows() == before
    assert (set(root.iterdir()), indexes()) == (stored, indexed)
    assert KnowledgePack.objects.get() == kept


def test_a_purge_forgets_what_searches_of_the_pack_found(user: User, other_user: User, root: Path) -> None:
    kept, gone = (furnish(user, other_user, root, name) for name in ("kept", "gone"))
    for name in cached():
        nudge.client().delete(name)
    for packs in ([kept], [gone], [kept, gone]):
        search(packs, "espresso")
        search(packs, "solar panels", mode="lexical")
    assert len(cached()) == 6
    expire(gone)
    purging.purge(gone.pk)
    assert len(cached()) == 2
    assert search([kept], "espresso").cached


def cached() -> list[bytes]:
    return list(nudge.client().scan_iter(match="*:search:*"))


def test_a_purge_can_be_cut_off_after_any_step(
    user: User, other_user: User, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "ROWS", 2)
    monkeypatch.setattr(purging, "ENTRIES", 1)
    before = rows()
    expire(furnish(user, other_user, root, "gone"))
    (pack_id,) = purging.due()
    steps = 0
    while purging.step(pack_id):  # each is a worker of its own that is killed after its commit
        steps += 1
    assert steps > 20
    assert rows() == before


def test_two_workers_purge_one_pack(user: User, other_user: User, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "ROWS", 2)
    before = rows()
    gone = furnish(user, other_user, root, "gone")
    expire(gone)
    errors: list[Exception] = []

    def work() -> None:
        try:
            purging.purge(gone.pk)
        except Exception as error:  # noqa: BLE001  # shown by the assertion below
            errors.append(error)
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert (errors, rows()) == ([], before)


def test_what_is_not_due_is_left_alone(user: User, other_user: User, root: Path) -> None:
    pack = furnish(user, other_user, root, "kept")
    services.delete_pack(pack.pk)
    before = rows()
    assert purging.due() == []
    purging.purge(pack.pk)
    assert rows() == before


def test_a_file_outside_the_data_directory_is_never_deleted(user: User, root: Path) -> None:
    pack = services.create_pack(user, name="Odd")
    Import.objects.create(pack=pack, path="../elsewhere")
    expire(pack)
    with pytest.raises(ValueError, match="outside DATA_DIR"):
        purging.purge(pack.pk)


@pytest.mark.forges
def test_cited_revisions_and_pinned_councils_outlive_the_pack(
    user: User, other_user: User, root: Path, convene: Convene
) -> None:
    pack = furnish(user, other_user, root, "gone")
    revision = EntryRevision.objects.filter(entry__pack=pack).earliest("created_at")
    session: Any = convene(packs=[pack.pk], pins={pack.pk: "v1"})
    _cite(session, revision)
    expire(pack)
    purging.purge(pack.pk)
    assert not KnowledgePack.objects.exists()
    assert not SessionPack.objects.exists()
    kept = EntryRevision.objects.get()
    assert (kept.pk, kept.content, kept.entry_id) == (revision.pk, revision.content, None)
    assert CouncilSession.objects.filter(pk=session.pk).exists()


def _cite(session: CouncilSession, revision: EntryRevision) -> None:
    now = timezone.now()
    run = Run.objects.create(session=session, number=1, protocol={}, seed=1, deadline_at=now, started_at=now)
    decision = Decision.objects.create(run=run, outcome="decided", answer="x", source="chair")
    Citation.objects.create(decision=decision, n=1, revision=revision, status="verified")
