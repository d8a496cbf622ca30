"""Councils that read a pack as one of its snapshots has it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.models import User
from council import evidence
from council.models import SessionPack
from knowledge import indexing
from knowledge import services as knowledge
from knowledge.models import KnowledgePack, Snapshot
from tests.conftest import Api
from tests.knowledge.test_api_packs import problem

SESSIONS = "/api/council-sessions"


@pytest.fixture
def pack(user: User) -> KnowledgePack:
    pack = knowledge.create_pack(user, name="Bakery")
    knowledge.add_entries(pack, user, [{"title": "Bread", "content": "Flour and water."}])
    while indexing.index_once(pack.pk):
        pass
    return pack


@pytest.fixture
def snapshot(pack: KnowledgePack) -> Snapshot:
    return knowledge.publish(pack.pk, None, "v1")


@pytest.mark.parametrize("by", ["label", "id"])
def test_a_session_pins_by_label_or_id(api: Api, pack: KnowledgePack, snapshot: Snapshot, by: str) -> None:
    wanted = snapshot.label if by == "label" else str(snapshot.pk)
    body: dict[str, Any] = {"question": "What?", "packs": [{"id": str(pack.pk), "snapshot": wanted}]}
    made = api.post(SESSIONS, body)
    assert made.status_code == 201, made.content
    session = made.json()
    assert (session["packs"], session["snapshots"]) == ([str(pack.pk)], {str(pack.pk): "v1"})
    assert evidence._sources(session["id"]) == [evidence.Source(pack, snapshot)]
    events = api.get(f"{SESSIONS}/{session['id']}/events").json()["results"]
    assert events[0]["data"]["session"]["snapshots"] == {str(pack.pk): "v1"}


def test_a_draft_can_be_unpinned_and_pinned_again(api: Api, pack: KnowledgePack, snapshot: Snapshot) -> None:
    plain, pinned = str(pack.pk), {"id": str(pack.pk), "snapshot": "v1"}
    session = api.post(SESSIONS, {"question": "What?", "packs": [plain]}).json()
    assert session["snapshots"] == {}
    address = f"{SESSIONS}/{session['id']}"
    assert api.patch(address, {"packs": [pinned]}).json()["snapshots"] == {str(pack.pk): "v1"}
    assert api.patch(address, {"title": "T"}).json()["snapshots"] == {str(pack.pk): "v1"}
    assert api.patch(address, {"packs": [plain]}).json()["snapshots"] == {}


@pytest.mark.parametrize(
    ("extra", "pointer"),
    [
        ({"snapshot": "v2"}, "/packs/0/snapshot"),
        ({"snapshot": 5}, "/packs/0"),
        ({"label": "v1"}, "/packs/0"),
        ({"snapshot": "x" * 61}, "/packs/0"),
    ],
)
def test_a_pin_on_nothing_is_refused(
    api: Api, pack: KnowledgePack, snapshot: Snapshot, extra: dict[str, Any], pointer: str
) -> None:
    refusal = api.post(SESSIONS, {"question": "What?", "packs": [{"id": str(pack.pk), **extra}]})
    assert pointer in {error["pointer"] for error in problem(refusal, 400)["errors"]}
    assert not SessionPack.objects.exists()


def test_a_pinned_snapshot_cannot_be_deleted(api: Api, pack: KnowledgePack, snapshot: Snapshot) -> None:
    api.post(SESSIONS, {"question": "What?", "packs": [{"id": str(pack.pk), "snapshot": "v1"}]})
    address = f"/api/knowledge-packs/{pack.pk}/snapshots/{snapshot.pk}"
    problem(api.delete(address), 409, "snapshot_pinned")
    assert api.get(address).json()["entries"]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM knowledge_snapshotterm")
        cursor.execute("DELETE FROM knowledge_snapshotentry")
        cursor.execute("DELETE FROM knowledge_snapshot")
        with pytest.raises(IntegrityError), transaction.atomic():
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        transaction.set_rollback(True)
