from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from django.core.asgi import get_asgi_application
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.api.parsers import MAX_DEPTH, strict_json
from accounts.models import User
from accounts.services import create_api_key
from realtime.errors import InvalidInput

ECHO = "/api/probe/echo"
_storable = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _storable,
    lambda inner: st.lists(inner) | st.dictionaries(_storable, inner),
)


@given(_values, st.booleans())
def test_every_ordinary_value_is_read_as_python_reads_it(value: Any, ascii_only: bool) -> None:
    assert strict_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b"", ""),
        (b"{", ""),
        (b"{'a': 1}", ""),
        (b'{"a": 1,}', ""),
        (b'{"a": NaN}', ""),
        (b'{"a": -Infinity}', ""),
        (b"1e400", ""),
        (b"1" * 21, ""),
        (b"9" * 5000, ""),
        (b'{"a": 1, "a": 2}', ""),
        (b'{"a": {"b": 1, "b": 1}}', ""),
        (b'"\xff"', ""),
        (b"\xef\xbb\xbf{}", ""),
        ('{"a": "ü"}'.encode("utf-16"), ""),
        (b'{"a": [1, {"b/c": "x\\u0000"}]}', "/a/1/b~1c"),
        (b'{"a": "\\ud800"}', "/a"),
        (b'{"a\\u0000": 1}', "/a\x00"),
        (b'{"a\\udc00": 1}', "/a?"),
        (b"[" * 100_000, ""),
    ],
)
def test_anything_else_is_refused_with_its_place(raw: bytes, where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        strict_json(raw)
    assert caught.value.code == "malformed_json"
    assert [error["pointer"] for error in caught.value.errors] == [where]


def test_a_surrogate_pair_is_one_character() -> None:
    assert strict_json(b'"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_limited_exactly(opening: str, closing: str) -> None:
    def nested(depth: int) -> bytes:
        return (opening * depth + "1" + closing * depth).encode()

    strict_json(nested(MAX_DEPTH))
    with pytest.raises(InvalidInput, match="deeper"):
        strict_json(nested(MAX_DEPTH + 1))


@pytest.mark.urls("tests.accounts.probe")
class TestOverHttp:
    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
    )
    def test_another_content_type_is_415(self, program: Client, content_type: str) -> None:
        answer = program.generic("POST", ECHO, b'{"a": 1}', content_type=content_type)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")

    @pytest.mark.parametrize("content_type", ["application/json", 'application/json; charset="UTF-8"'])
    def test_json_is_read(self, program: Client, content_type: str) -> None:
        assert program.generic("POST", ECHO, '{"a": "ü"}'.encode(), content_type=content_type).json() == {"a": "ü"}

    def test_malformed_json_is_400_with_a_pointer(self, program: Client) -> None:
        answer = program.generic("POST", ECHO, b'{"a": "\\u0000"}', content_type="application/json")
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["pointer"] == "/a"

    def test_a_body_above_the_limit_is_413_and_one_at_the_limit_is_not(
        self, program: Client, settings: Settings
    ) -> None:
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
        at_limit = json.dumps("x" * 998).encode()
        assert program.generic("POST", ECHO, at_limit, content_type="application/json").status_code == 200
        answer = program.generic("POST", ECHO, at_limit + b" ", content_type="application/json")
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert answer.json()["detail"] == "A body may have at most 1000 bytes."

    def test_an_empty_body_is_an_empty_object(self, program: Client) -> None:
        assert program.generic("POST", ECHO, b"", content_type="").json() == {}

    @pytest.mark.parametrize("query", ["a=%00", "%00=1"])
    def test_a_nul_in_the_query_is_400(self, program: Client, query: str) -> None:
        assert program.get(f"/api/probe/things?{query}").json()["code"] == "bad_query"


async def _post_in_chunks(key: str, *chunks: bytes) -> tuple[int, bytes]:
    headers = [
        (b"host", b"127.0.0.1"),
        (b"content-type", b"application/json"),
        (b"authorization", f"Bearer {key}".encode()),
    ]
    scope = {"type": "http", "method": "POST", "path": ECHO, "headers": headers, "query_string": b""}
    server: Any = ApplicationCommunicator(get_asgi_application(), scope)  # type: ignore[no-untyped-call]  # asgiref
    for chunk in chunks:
        await server.send_input({"type": "http.request", "body": chunk, "more_body": True})
    await server.send_input({"type": "http.request", "body": b""})
    start = await server.receive_output(10)
    body = await server.receive_output(10)
    await server.wait(10)
    return start["status"], body["body"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.urls("tests.accounts.probe")
class TestChunkedBodies:
    """They carry no Content-Length, which Django takes for no limit and DRF for no body."""

    async def test_are_read(self) -> None:
        status, body = await _post_in_chunks(await _key(), b'{"a"', b": 1}")
        assert (status, json.loads(body)) == (200, {"a": 1})

    async def test_are_limited(self, settings: Settings) -> None:
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
        status, _ = await _post_in_chunks(await _key(), b'"', b"x" * 200, b'"')
        assert status == 413


@database_sync_to_async  # type: ignore[untyped-decorator]  # channels has no types
def _key() -> str:
    return create_api_key(User.objects.create_user("ada@example.org"), "a")[1]
