from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.api import conditions
from accounts.api.pointers import field_errors, pointer

pytestmark = pytest.mark.urls("tests.accounts.probe")
THINGS = "/api/probe/things"
ITEM = "/api/probe/things/0190a1b2-0000-7000-8000-000000000000"
TAG = conditions.etag(3, {"id": ITEM.rsplit("/", 1)[1]})  # version 3 of this body


def _post(client: Client, body: Any) -> dict[str, str]:
    answer = client.post(THINGS, json.dumps(body), content_type="application/json")
    assert answer.status_code == 400, answer.content
    assert answer.json()["code"] == "invalid"
    return {error["pointer"]: error["detail"] for error in answer.json()["errors"]}


class TestValidated:
    def test_names_every_wrong_field(self, program: Client) -> None:
        errors = _post(program, {"size": 99, "parts": [{"text": "ok"}, {"text": "x" * 11}], "part": {}})
        assert set(errors) == {"/name", "/size", "/parts/1/text", "/part/text"}

    def test_refuses_unknown_fields_at_every_depth(self, program: Client) -> None:
        body = {
            "name": "a",
            "nmae": 1,
            "part": {"text": "a", "x/y": 1},
            "parts": [{"text": "a"}, {"text": "a", "~": 1}],
        }
        assert set(_post(program, body)) == {"/nmae", "/part/x~1y", "/parts/1/~0"}

    def test_refuses_fields_that_only_the_server_writes(self, program: Client) -> None:
        assert set(_post(program, {"name": "a", "made_at": "2024-01-01T00:00:00Z"})) == {"/made_at"}

    @pytest.mark.parametrize("body", [[], ["a"], "text", 5, True])
    def test_refuses_what_is_not_an_object(self, program: Client, body: Any) -> None:
        assert set(_post(program, body)) == {""}

    def test_refuses_null(self, program: Client) -> None:
        assert program.generic("POST", THINGS, b"null", content_type="application/json").status_code == 400

    def test_changes_nothing_when_it_refuses(self, program: Client) -> None:
        _post(program, {"name": "a", "extra": 1})
        assert [row["name"] for row in program.get(THINGS).json()["results"]] == ["test"]

    def test_leaves_free_json_alone(self, program: Client) -> None:
        body = {"name": "a", "metadata": {"anything": {"goes": 1}}}
        assert program.post(THINGS, body, content_type="application/json").status_code == 201

    def test_points_into_arrays(self, program: Client) -> None:
        answer = program.put(
            "/api/probe/echo", [{"name": "a"}, {"name": "b", "x": 1}, {}], content_type="application/json"
        )
        assert {error["pointer"] for error in answer.json()["errors"]} == {"/1/x", "/2/name"}

    def test_limits_the_length_of_its_answer(self, program: Client) -> None:
        answer = program.put("/api/probe/echo", [{}] * 500, content_type="application/json")
        assert len(answer.json()["errors"]) == 100


class TestEntityTags:
    def test_a_single_object_carries_a_strong_tag(self, program: Client) -> None:
        answer = program.get(ITEM)
        assert (answer.headers["ETag"], answer.headers["Cache-Control"]) == (TAG, "private, no-cache")

    @pytest.mark.parametrize("header", [TAG, f"W/{TAG}", f'"v1", {TAG}', "*"])
    def test_a_known_version_is_304_without_a_body(self, program: Client, header: str) -> None:
        answer = program.get(ITEM, headers={"If-None-Match": header})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", TAG)

    def test_a_body_that_changed_without_an_edit_is_sent(self) -> None:
        assert conditions.etag(3, {"status": "ready"}) != conditions.etag(3, {"status": "pending"})

    @pytest.mark.parametrize("header", ['"v2"', "v3", "", '"v3', '"v3"'])
    def test_another_version_is_sent(self, program: Client, header: str) -> None:
        assert program.get(ITEM, headers={"If-None-Match": header}).status_code == 200

    @pytest.mark.parametrize("header", ['"v3"', '"v2","v3"', TAG, '"v3.0f-br"', "*", None])
    def test_a_write_that_matches_goes_through(self, program: Client, header: str | None) -> None:
        headers = {"If-Match": header} if header else {}
        answer = program.patch(ITEM, {"name": "b"}, content_type="application/json", headers=headers)
        assert (answer.status_code, answer.headers["ETag"][:4]) == (200, '"v4.')

    @pytest.mark.parametrize("header", ['"v2"', 'W/"v3"', '"v33"', '"*"'])
    def test_a_stale_write_is_412(self, program: Client, header: str) -> None:
        answer = program.patch(ITEM, {"name": "b"}, content_type="application/json", headers={"If-Match": header})
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed")

    @pytest.mark.parametrize("header", ["v3", "", '"v3', '"v3" "v2"', '"v3", *', "3"])
    def test_a_malformed_condition_is_400(self, program: Client, header: str) -> None:
        answer = program.patch(ITEM, {"name": "b"}, content_type="application/json", headers={"If-Match": header})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_if_match")


def test_head_is_get_without_a_body(program: Client) -> None:
    answer = program.head(ITEM)
    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (200, b"", TAG)


def test_pointers_are_escaped() -> None:
    assert pointer("/a", "b/c~d") == "/a/b~1c~0d"
    assert list(field_errors({"a": {0: ["x"]}, "non_field_errors": ["y"]})) == [
        {"pointer": "/a/0", "detail": "x"},
        {"pointer": "", "detail": "y"},
    ]
