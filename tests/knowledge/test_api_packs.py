"""POST GET /api/knowledge-packs, GET PATCH DELETE /api/knowledge-packs/{id}."""

from __future__ import annotations

from typing import Any

import pytest

from knowledge import services
from knowledge.models import KnowledgePack, PackEvent
from tests.conftest import Api

PACKS = "/api/knowledge-packs"
FIELDS = {
    "id", "name", "description", "visibility", "status", "tags", "language", "version", "entry_count", "role", "gate_publishing",
    "created_at", "updated_at",
}  # fmt: skip
ABSENT = "01890000-0000-7000-8000-000000000000"


def url(pack: KnowledgePack) -> str:
    return f"{PACKS}/{pack.pk}"


def problem(response: Any, status: int, code: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert code is None or body["code"] == code
    return body


def pointers(response: Any) -> set[str]:
    return {error["pointer"] for error in problem(response, 400)["errors"]}


@pytest.mark.parametrize("slash", ["", "/"])
def test_create_answers_the_pack_and_its_tag(api: Api, slash: str) -> None:
    response = api.post(PACKS + slash, {"name": " Energy ", "tags": ["a", "b", "a"], "language": "german"})
    assert response.status_code == 201
    body = response.json()
    assert set(body) == FIELDS
    assert (body["name"], body["tags"], body["status"], body["role"]) == ("Energy", ["a", "b"], "draft", "owner")
    assert response.headers["ETag"].startswith('"v1.')
    assert api.get(f"{PACKS}/{body['id']}{slash}").json() == body


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "   "}, "/name"),
        ({"name": 5}, "/name"),
        ({"name": None}, "/name"),
        ({"name": ["x"]}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"name": "x", "description": "x" * 4001}, "/description"),
        ({"name": "x", "visibility": "secret"}, "/visibility"),
        ({"name": "x", "visibility": True}, "/visibility"),
        ({"name": "x", "language": "klingon"}, "/language"),
        ({"name": "x", "tags": "energy"}, "/tags"),
        ({"name": "x", "tags": [1]}, "/tags/0"),
        ({"name": "x", "tags": ["x" * 51]}, "/tags/0"),
        ({"name": "x", "tags": [str(i) for i in range(51)]}, "/tags"),
        ({"name": "x", "status": "active"}, "/status"),
        ({"name": "x", "colour": "red"}, "/colour"),
        ({"name": "x", "owner": ABSENT}, "/owner"),
        ([], ""),
        ("text", ""),
        (None, "/name"),
    ],
)
def test_wrong_bodies_are_refused_with_pointers_and_create_nothing(api: Api, body: Any, pointer: str) -> None:
    assert pointer in pointers(api.post(PACKS, body))
    assert not KnowledgePack.objects.exists()


@pytest.mark.parametrize(
    "body", [b"{", b"nonsense", b'{"name": NaN}', b'{"name": "a\\u0000b"}', b"\xff\xfe", b'{"name": "x"']
)
def test_malformed_json_is_400(api: Api, body: bytes) -> None:
    problem(api.post(PACKS, body), 400)
    assert not KnowledgePack.objects.exists()


def test_an_oversized_body_is_413(api: Api) -> None:
    problem(api.post(PACKS, {"name": "x", "description": "y" * 6_000_000}), 413)


def test_the_same_key_creates_one_pack(api: Api) -> None:
    first = api.post(PACKS, {"name": "Once"}, Idempotency_Key="k1")
    again = api.post(PACKS, {"name": "Once"}, Idempotency_Key="k1")
    assert (first.status_code, again.json()) == (201, first.json())
    assert KnowledgePack.objects.count() == 1
    problem(api.post(PACKS, {"name": "Twice"}, Idempotency_Key="k1"), 422)


def test_the_list_holds_only_ones_own_packs_page_by_page(api: Api, other_api: Api) -> None:
    for i in range(5):
        api.post(PACKS, {"name": f"Pack {i}"})
    other_api.post(PACKS, {"name": "Theirs"})
    first = api.get(f"{PACKS}?limit=3").json()
    assert set(first) == {"next", "previous", "results"}
    second = api.get(first["next"]).json()
    assert [pack["name"] for page in (first, second) for pack in page["results"]] == [
        f"Pack {i}" for i in (4, 3, 2, 1, 0)
    ]
    assert second["next"] is None


def test_the_list_filters_by_status(api: Api, pack: KnowledgePack) -> None:
    assert api.get(f"{PACKS}?status=active").json()["results"] == []
    assert len(api.get(f"{PACKS}/?status=draft").json()["results"]) == 1
    problem(api.get(f"{PACKS}?status=deleted"), 400)


def test_patch_changes_what_it_names(api: Api, pack: KnowledgePack) -> None:
    response = api.patch(url(pack), {"name": "Better", "tags": []}, If_Match='"v1"')
    assert response.status_code == 200
    assert (response.json()["name"], response.json()["tags"], response.json()["version"]) == ("Better", [], 2)
    assert response.json()["description"] == pack.description
    assert response.headers["ETag"].startswith('"v2.')


def test_an_empty_patch_changes_nothing(api: Api, pack: KnowledgePack) -> None:
    assert api.patch(url(pack) + "/", {}).json()["version"] == 1


@pytest.mark.parametrize(
    ("body", "pointer"), [({"name": 1}, "/name"), ({"status": "deleted"}, "/status"), ({"id": "x"}, "/id"), ([], "")]
)
def test_a_wrong_patch_is_refused(api: Api, pack: KnowledgePack, body: Any, pointer: str) -> None:
    assert pointer in pointers(api.patch(url(pack), body))
    pack.refresh_from_db()
    assert pack.version == 1


def test_archiving_and_taking_up_again(api: Api, pack: KnowledgePack) -> None:
    problem(api.patch(url(pack), {"status": "archived"}), 409, "illegal_transition")
    for status in ("active", "archived", "active"):
        assert api.patch(url(pack), {"status": status}).json()["status"] == status
    problem(api.patch(url(pack), {"status": "draft"}), 409)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_stale_tag_is_412_and_changes_nothing(api: Api, pack: KnowledgePack, method: str) -> None:
    services.update_pack(pack.pk, {"name": "Moved on"})
    problem(api(method, url(pack), {"name": "Stale"} if method == "PATCH" else None, If_Match='"v1"'), 412)
    pack.refresh_from_db()
    assert (pack.name, pack.status) == ("Moved on", "draft")


def test_an_unchanged_pack_is_304(api: Api, pack: KnowledgePack) -> None:
    tag = api.get(url(pack)).headers["ETag"]
    assert api.get(url(pack), If_None_Match=tag).status_code == 304


@pytest.mark.parametrize("slash", ["", "/"])
def test_delete_removes_the_pack_from_sight(api: Api, pack: KnowledgePack, slash: str) -> None:
    response = api.delete(url(pack) + slash, If_Match='"v1"')
    assert (response.status_code, response.content) == (204, b"")
    problem(api.get(url(pack)), 404)
    problem(api.delete(url(pack)), 404)
    problem(api.post(f"{url(pack)}/entries", {"title": "t", "content": "c"}), 404)
    assert api.get(PACKS).json()["results"] == []


PATHS = ["", "/entries", "/entries/search?q=x"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("id_", [ABSENT, "not-a-uuid", "1", "%00", "é", "0" * 500])
def test_an_id_of_nothing_is_404(api: Api, path: str, id_: str) -> None:
    problem(api.get(f"{PACKS}/{id_}{path}"), 404)


@pytest.mark.parametrize("path", PATHS)
def test_another_users_pack_is_404(other_api: Api, pack: KnowledgePack, path: str) -> None:
    problem(other_api.get(url(pack) + path), 404)


def test_another_user_changes_nothing(other_api: Api, pack: KnowledgePack) -> None:
    problem(other_api.patch(url(pack), {"name": "Mine"}), 404)
    problem(other_api.delete(url(pack)), 404)
    problem(other_api.post(f"{url(pack)}/entries", {"title": "t", "content": "c"}), 404)
    assert PackEvent.objects.filter(stream=pack).count() == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/entries"),
        ("GET", "/entries"),
        ("GET", "/entries/search?q=x"),
    ],
)
def test_without_credentials_it_is_401(anonymous: Api, pack: KnowledgePack, method: str, path: str) -> None:
    problem(anonymous(method, url(pack) + path, {} if method in ("POST", "PATCH") else None), 401)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_collection_asks_for_credentials_too(anonymous: Api, method: str) -> None:
    response = anonymous(method, PACKS, {"name": "x"} if method == "POST" else None)
    problem(response, 401)
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", ""), ("POST", ""), ("DELETE", "/entries"), ("POST", "/entries/search")]
)
def test_other_methods_are_405(api: Api, pack: KnowledgePack, method: str, path: str) -> None:
    problem(api(method, url(pack) + path, {}), 405)
