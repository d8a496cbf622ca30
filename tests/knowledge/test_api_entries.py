"""POST GET /api/knowledge-packs/{id}/entries and …/entries/search."""

from __future__ import annotations

from typing import Any

import pytest

from knowledge import services
from knowledge.models import Entry, KnowledgePack
from tests.conftest import Api
from tests.knowledge.conftest import BREAD, CAFE, ITEMS, SOLAR, Fill
from tests.knowledge.test_api_packs import pointers, problem, url

HEADER = {
    "id", "pack", "title", "tags", "metadata", "source_url", "external_id", "status", "error", "enabled", "revision",
    "revision_id", "content_hash", "language", "ordinal", "version", "reviewed_at", "review_by", "created_at", "updated_at",
}  # fmt: skip
MINIMAL = {"title": "T", "content": "C"}


@pytest.fixture
def entries(pack: KnowledgePack) -> str:
    return f"{url(pack)}/entries"


@pytest.mark.parametrize("slash", ["", "/"])
def test_one_object_is_created_with_its_content(api: Api, entries: str, slash: str) -> None:
    response = api.post(entries + slash, CAFE)
    assert response.status_code == 201
    body = response.json()
    assert set(body) == HEADER | {"content"}
    assert {name: body[name] for name in CAFE} == CAFE
    assert (body["status"], body["revision"], body["error"], body["metadata"]) == ("pending", 1, None, {})
    assert response.headers["ETag"].startswith('"v1.')


def test_a_known_external_id_is_revised(api: Api, entries: str) -> None:
    first = api.post(entries, SOLAR).json()
    again = api.post(entries, {**SOLAR, "content": "Other words."})
    assert (again.status_code, again.json()["id"], again.json()["revision"]) == (200, first["id"], 2)
    same = api.post(entries, {**SOLAR, "content": "Other words."})
    assert (same.status_code, same.json()) == (200, again.json())


@pytest.mark.parametrize(
    ("item", "pointer"),
    [
        ({}, "/title"),
        ({"title": "T"}, "/content"),
        ({**MINIMAL, "title": " "}, "/title"),
        ({**MINIMAL, "title": 7}, "/title"),
        ({**MINIMAL, "title": "x" * 201}, "/title"),
        ({**MINIMAL, "content": ""}, "/content"),
        ({**MINIMAL, "content": " \n"}, "/content"),
        ({**MINIMAL, "content": None}, "/content"),
        ({**MINIMAL, "content": "x" * 200_001}, "/content"),
        ({**MINIMAL, "tags": "a"}, "/tags"),
        ({**MINIMAL, "tags": [""]}, "/tags/0"),
        ({**MINIMAL, "tags": ["ok", 1]}, "/tags/1"),
        ({**MINIMAL, "tags": ["x" * 51]}, "/tags/0"),
        ({**MINIMAL, "tags": ["x"] * 51}, "/tags"),
        ({**MINIMAL, "metadata": []}, "/metadata"),
        ({**MINIMAL, "metadata": "x"}, "/metadata"),
        ({**MINIMAL, "metadata": {"a": {"b": {"c": {"d": {"e": {}}}}}}}, "/metadata"),
        ({**MINIMAL, "metadata": {"a": "x" * 17_000}}, "/metadata"),
        ({**MINIMAL, "source_url": "not a url"}, "/source_url"),
        ({**MINIMAL, "source_url": "javascript:alert(1)"}, "/source_url"),
        ({**MINIMAL, "source_url": "https://example.org/" + "x" * 2000}, "/source_url"),
        ({**MINIMAL, "external_id": ""}, "/external_id"),
        ({**MINIMAL, "external_id": 5}, "/external_id"),
        ({**MINIMAL, "external_id": "x" * 201}, "/external_id"),
        ({**MINIMAL, "status": "ready"}, "/status"),
        ({**MINIMAL, "a/b~c": 1}, "/a~1b~0c"),
        ("text", ""),
        (5, ""),
        (None, "/title"),
    ],
)
def test_wrong_entries_are_refused_with_pointers_and_create_nothing(
    api: Api, entries: str, item: Any, pointer: str
) -> None:
    assert pointer in pointers(api.post(entries, item))
    assert not Entry.objects.exists()


def test_wrong_queries_do_not_leak_the_search_of_others(api: Api, other_api: Api, entries: str) -> None:
    api.post(entries, SOLAR)
    problem(other_api.get(f"{entries}/search?q=electricity"), 404)


@pytest.mark.parametrize(
    "body", [b"[", b'{"title": "a\\u0000", "content": "c"}', b'{"title": "t", "content": "\\ud800"}']
)
def test_malformed_json_is_400(api: Api, entries: str, body: bytes) -> None:
    problem(api.post(entries, body), 400)
    assert not Entry.objects.exists()


def test_an_oversized_body_is_413(api: Api, entries: str) -> None:
    problem(api.post(entries, [{"title": "T", "content": "x" * 190_000}] * 30), 413)


def test_an_array_answers_207_with_a_result_for_each_item(api: Api, entries: str) -> None:
    api.post(entries, SOLAR)
    response = api.post(entries, [SOLAR, BREAD, {"title": "no content"}, {**CAFE, "tags": [1]}])
    assert response.status_code == 207
    results = response.json()["results"]
    assert [(item["index"], item["status"]) for item in results] == [
        (0, "unchanged"), (1, "created"), (2, "failed"), (3, "failed"),
    ]  # fmt: skip
    assert results[2] == {
        "index": 2, "status": "failed", "code": "invalid", "errors": [{"pointer": "/2/content", "detail": "Field required"}],
    }  # fmt: skip
    assert results[1]["id"] == str(Entry.objects.get(external_id="bread").pk)
    assert results[3]["errors"][0]["pointer"] == "/3/tags/0"


def test_an_empty_array_is_an_empty_answer(api: Api, entries: str) -> None:
    response = api.post(entries, [])
    assert (response.status_code, response.json()) == (207, {"results": []})


def test_more_than_500_at_once_are_refused(api: Api, entries: str) -> None:
    problem(api.post(entries, [MINIMAL] * 501), 400, "too_many_items")
    assert not Entry.objects.exists()


def test_the_same_key_adds_an_array_once(api: Api, entries: str) -> None:
    items = [MINIMAL, {**MINIMAL, "title": "U"}]
    first = api.post(entries, items, Idempotency_Key="batch")
    again = api.post(entries, items, Idempotency_Key="batch")
    assert first.json() == again.json()
    assert Entry.objects.count() == 2


@pytest.mark.parametrize("body", [MINIMAL, [MINIMAL]])
def test_an_archived_pack_takes_no_entries(api: Api, pack: KnowledgePack, entries: str, body: Any) -> None:
    services.update_pack(pack.pk, {"status": "active"})
    services.update_pack(pack.pk, {"status": "archived"})
    problem(api.post(entries, body), 409, "pack_closed")
    assert not Entry.objects.exists()


def test_the_list_leaves_content_out_and_pages(api: Api, entries: str, fill: Fill) -> None:
    fill(index=False)
    first = api.get(f"{entries}/?limit=2").json()
    assert set(first["results"][0]) == HEADER
    second = api.get(first["next"]).json()
    assert len(first["results"]) + len(second["results"]) == 3
    assert api.get(second["previous"]).json()["results"] == first["results"]


def test_the_list_filters_by_status(api: Api, entries: str, fill: Fill) -> None:
    fill([SOLAR])
    fill([BREAD], index=False)
    for status, name in (("ready", "solar"), ("pending", "bread")):
        assert [row["external_id"] for row in api.get(f"{entries}?status={status}").json()["results"]] == [name]
    problem(api.get(f"{entries}?status=lost"), 400)
    problem(api.get(f"{entries}?limit=0"), 400)


def test_deleted_entries_are_not_listed(api: Api, entries: str, fill: Fill) -> None:
    (result,) = fill([SOLAR], index=False)
    assert result.entry
    services.delete_entry(result.entry.pk)
    assert api.get(entries).json()["results"] == []


# --- Search ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_search_answers_the_documented_shape(api: Api, entries: str, fill: Fill, slash: str) -> None:
    fill()
    response = api.get(f"{entries}/search{slash}?q=espresso&limit=2")
    assert response.status_code == 200
    body = response.json()
    assert (set(body), body["query"], body["mode"]) == ({"query", "mode", "took_ms", "results"}, "espresso", "hybrid")
    hit = body["results"][0]
    assert {"entry", "score", "scores", "passage", "highlight"} <= set(hit)
    assert set(hit["scores"]) == {"lexical", "semantic"}
    assert {name: hit["entry"][name] for name in CAFE if name != "content"} == {
        name: value for name, value in CAFE.items() if name != "content"
    }
    assert hit["passage"]["text"] == CAFE["content"]
    assert (hit["passage"]["start"], hit["passage"]["end"]) == (0, len(CAFE["content"]))
    assert len(body["results"]) == 2


@pytest.mark.parametrize("mode", ["hybrid", "lexical", "semantic"])
def test_search_takes_a_mode(api: Api, entries: str, fill: Fill, mode: str) -> None:
    fill()
    body = api.get(f"{entries}/search?q=sourdough+bread&mode={mode}").json()
    assert body["mode"] == mode
    assert body["results"][0]["entry"]["external_id"] == "bread"
    scores = body["results"][0]["scores"]
    assert (scores["lexical"] is None, scores["semantic"] is None) == (mode == "semantic", mode == "lexical")


def test_search_filters_by_tags(api: Api, entries: str, fill: Fill) -> None:
    fill()
    body = api.get(f"{entries}/search?q=food&tag=food&tag=travel").json()
    assert [hit["entry"]["external_id"] for hit in body["results"]] == ["cafe"]


def test_search_explains_itself_when_asked(api: Api, entries: str, fill: Fill) -> None:
    fill()
    assert "explain" not in api.get(f"{entries}/search?q=oven").json()["results"][0]
    body = api.get(f"{entries}/search?q=oven&explain=true").json()
    assert body["explain"]["packs"][0]["paths"] == ["bm25", "exact"]
    assert body["results"][0]["explain"]["matched_terms"] == ["oven"]


def test_a_draft_and_an_archived_pack_can_be_searched(api: Api, pack: KnowledgePack, entries: str, fill: Fill) -> None:
    fill(index=False)
    assert api.get(f"{entries}/search?q=oven").json()["results"]
    services.update_pack(pack.pk, {"status": "active"})
    services.update_pack(pack.pk, {"status": "archived"})
    assert api.get(f"{entries}/search?q=oven").json()["results"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "bad_q"),
        ("q=", "bad_q"),
        ("q=%20", "bad_q"),
        ("q=" + "x" * 1001, "bad_q"),
        ("q=x&mode=fuzzy", "bad_mode"),
        ("q=x&mode=", "bad_mode"),
        ("q=x&limit=0", "bad_limit"),
        ("q=x&limit=101", "bad_limit"),
        ("q=x&limit=ten", "bad_limit"),
        ("q=x&limit=-1", "bad_limit"),
        ("q=x&limit=%D9%A3", "bad_limit"),
        ("q=x&explain=maybe", "bad_explain"),
        ("q=a%00b", "bad_query"),
    ],
)
def test_bad_parameters_are_400(api: Api, entries: str, query: str, code: str) -> None:
    problem(api.get(f"{entries}/search?{query}"), 400, code)


@pytest.mark.parametrize("query", ["%27", "%22", "a+%26+b", "-", "%F0%9F%99%82", "%25", "the", "%5C"])
def test_odd_queries_are_answered(api: Api, entries: str, fill: Fill, query: str) -> None:
    fill(ITEMS)
    assert api.get(f"{entries}/search?q={query}").status_code == 200
