"""What every answer of HTTP has in common, whichever view gave it."""

from __future__ import annotations

import asyncio
import gzip
import json
from datetime import date, timedelta
from typing import Any

import brotli  # type: ignore[import-untyped]  # it has no types
import pytest
from django.test import Client
from django.urls import get_resolver
from pytest_django import Settings

from accounts.models import User
from accounts.services import create_api_key
from config import deprecations
from config.deprecations import Deprecated
from config.http.bounds import FORM_ROOM, bounded
from tests.accounts.conftest import csrf, program_of

pytestmark = pytest.mark.urls("tests.accounts.probe")
THINGS = "/api/probe/things"
ITEM = "/api/probe/things/00000000-0000-7000-8000-000000000001"


@pytest.fixture
def program(user: User) -> Client:
    return program_of(user)


@pytest.fixture
def stocked(user: User, program: Client) -> Client:
    """Enough that a list of it is worth compressing."""
    for number in range(20):
        create_api_key(user, f"key {number}")
    return program


class TestAccessLog:
    @staticmethod
    def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
        return [one.msg for one in caplog.records if isinstance(one.msg, dict) and one.msg["event"] == "request"]

    def test_one_line_tells_who_did_what_at_which_cost(
        self, program: Client, user: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = program.get(f"{ITEM}?q=hunter2", headers={"X-Request-ID": "find-me"})
        [line] = self.lines(caplog)
        assert line["user"] == str(user.pk)
        assert (line["method"], line["route"]) == ("GET", "api/probe/things/<uuid:item>")
        assert (line["status"], line["bytes"]) == (200, len(answer.content))
        assert line["request_id"] == "find-me"
        assert line["ms"] > 0

    def test_queries_are_counted(self, program: Client, caplog: pytest.LogCaptureFixture) -> None:
        program.get(ITEM)  # notes that the key is used
        program.get(THINGS)
        program.get(ITEM)
        _, listed, single = self.lines(caplog)
        assert listed["queries"] == single["queries"] + 1
        assert listed["queries_ms"] > 0

    def test_no_secret_gets_in(self, program: Client, caplog: pytest.LogCaptureFixture) -> None:
        program.post(f"{THINGS}?token=hunter2", {"name": "hunter2"}, content_type="application/json")
        program.get("/api/probe/hunter2/unknown?q=hunter2")
        program.get("/api/probe/raise/bug?q=hunter2")
        lines = self.lines(caplog)
        assert [line["status"] for line in lines] == [201, 404, 500]
        written = " ".join(
            str(one.msg) for one in caplog.records if one.name.startswith(("quorum", "django_structlog"))
        )
        assert "hunter2" not in written
        assert program.defaults["HTTP_AUTHORIZATION"].split()[1] not in written

    def test_a_stranger_has_no_name_and_costs_no_query(self, db: None, caplog: pytest.LogCaptureFixture) -> None:
        Client().get(ITEM)
        [line] = self.lines(caplog)
        assert (line["user"], line["status"], line["queries"]) == (None, 401, 0)


class TestCompression:
    def test_brotli_comes_first(self, stocked: Client) -> None:
        plain = stocked.get(THINGS)
        small = stocked.get(THINGS, headers={"Accept-Encoding": "gzip, deflate, br"})
        assert small.headers["Content-Encoding"] == "br"
        assert brotli.decompress(small.content) == plain.content
        assert int(small.headers["Content-Length"]) == len(small.content) < len(plain.content)

    @pytest.mark.parametrize("header", ["gzip", "gzip;q=1.0, br;q=0.5", "br;q=0, *"])
    def test_gzip_where_it_is_preferred(self, stocked: Client, header: str) -> None:
        small = stocked.get(THINGS, headers={"Accept-Encoding": header})
        assert small.headers["Content-Encoding"] == "gzip"
        assert len(json.loads(gzip.decompress(small.content))["results"]) == 21

    @pytest.mark.parametrize("header", ["", "identity", "br;q=0, gzip;q=0", "br;q=x"])
    def test_not_for_those_who_cannot_read_it(self, stocked: Client, header: str) -> None:
        answer = stocked.get(THINGS, headers={"Accept-Encoding": header})
        assert "Content-Encoding" not in answer.headers
        assert "Accept-Encoding" in answer.headers["Vary"]

    def test_small_answers_stay_as_they_are(self, program: Client) -> None:
        assert "Content-Encoding" not in program.get(ITEM, headers={"Accept-Encoding": "br"}).headers

    def test_a_page_with_a_form_masks_its_token_each_time(self, client: Client, db: None) -> None:
        pages = [client.get("/accounts/login", headers={"Accept-Encoding": "br"}) for _ in range(2)]
        assert [page.headers["Content-Encoding"] for page in pages] == ["br", "br"]
        texts = [brotli.decompress(page.content) for page in pages]
        assert b"csrfmiddlewaretoken" in texts[0]
        assert texts[0] != texts[1]

    def test_a_compressed_tag_is_another_tag_and_means_the_same_version(self, stocked: Client) -> None:
        first = stocked.get(THINGS, headers={"Accept-Encoding": "br"})
        tag = first.headers["ETag"]
        assert tag.endswith('-br"')
        again = stocked.get(THINGS, headers={"Accept-Encoding": "br", "If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        change = {"name": "b"}
        patched = stocked.patch(ITEM, change, content_type="application/json", headers={"If-Match": '"v3.0f-gzip"'})
        assert patched.status_code == 200


class TestConditions:
    def test_an_unchanged_list_is_304(self, stocked: Client) -> None:
        tag = stocked.get(THINGS).headers["ETag"]
        again = stocked.get(THINGS, headers={"If-None-Match": f'"other", W/{tag}'})
        assert (again.status_code, again.content) == (304, b"")
        assert "Content-Type" not in again.headers
        assert again.headers["Cache-Control"] == "private, no-cache"

    def test_a_list_that_changed_is_not(self, stocked: Client, user: User) -> None:
        tag = stocked.get(THINGS).headers["ETag"]
        create_api_key(user, "new")
        assert stocked.get(THINGS, headers={"If-None-Match": tag}).status_code == 200

    def test_an_error_has_no_tag(self, program: Client) -> None:
        assert "ETag" not in program.get("/api/probe/raise/unavailable").headers


class TestMethods:
    def test_head_is_get_without_a_body(self, stocked: Client) -> None:
        got, head = stocked.get(THINGS), stocked.head(THINGS)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["ETag"] == got.headers["ETag"]

    def test_options_says_what_is_allowed(self, program: Client) -> None:
        answer = program.options(ITEM)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["Allow"] == "GET, PATCH, HEAD, OPTIONS"


class TestBounds:
    def test_a_long_address_is_414(self, program: Client) -> None:
        answer = program.get(f"{THINGS}?q={'a' * 20_000}")
        assert (answer.status_code, answer.json()["code"]) == (414, "uri_too_long")
        assert answer.headers["Content-Type"] == "application/problem+json"

    def test_a_long_head_is_431(self, program: Client) -> None:
        answer = program.get(THINGS, headers={"X-Long": "a" * 40_000})
        assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")

    def test_elsewhere_it_is_a_line_of_text(self, db: None) -> None:
        answer = Client().get(f"/accounts/login?q={'a' * 20_000}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (414, "text/plain; charset=utf-8")

    @pytest.mark.parametrize("announced", [True, False])
    def test_a_body_that_no_route_takes_is_not_read_to_its_end(self, settings: Settings, announced: bool) -> None:
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = settings.IMPORT_MAX_BYTES = 1000
        read = 0
        sent: list[Any] = []

        async def receive() -> Any:
            nonlocal read
            read += 1
            return {"type": "http.request", "body": b"a" * 100_000, "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        async def swallow(scope: Any, receive: Any, send: Any) -> None:
            while (await receive())["more_body"]:
                pass

        length = [(b"content-length", str(FORM_ROOM * 2).encode())] if announced else []
        asyncio.run(bounded(swallow)({"type": "http", "path": "/api/x", "headers": length}, receive, send))  # type: ignore[arg-type]  # what a server sends
        assert read <= FORM_ROOM // 100_000 + 2
        assert sent[0]["status"] == 413
        assert json.loads(sent[1]["body"])["code"] == "too_large"


class TestDeprecation:
    @pytest.fixture
    def table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = Deprecated(date(2026, 1, 1), date(2027, 1, 1), "Use another.")
        part = Deprecated(date(2026, 3, 1), date(2026, 12, 1), "Use `order`.", parameter="ordering")
        monkeypatch.setattr(
            deprecations, "TABLE", {"api/probe/things": (part,), "api/probe/things/<uuid:item>": (whole,)}
        )

    def test_a_route_says_so_in_every_answer(self, table: None, program: Client) -> None:
        answers = [program.get(ITEM), program.get(f"{ITEM}/"), Client().get(ITEM)]
        assert [answer.status_code for answer in answers] == [200, 200, 401]
        for answer in answers:
            assert answer.headers["Deprecation"] == "@1767225600"
            assert answer.headers["Sunset"] == "Fri, 01 Jan 2027 00:00:00 GMT"
            assert 'rel="deprecation"' in answer.headers["Link"]

    def test_a_parameter_says_so_only_where_it_is_used(self, table: None, program: Client) -> None:
        assert "Deprecation" not in program.get(THINGS).headers
        assert program.get(f"{THINGS}?ordering=name").headers["Deprecation"] == "@1772323200"


@pytest.mark.urls("config.urls")
def test_what_is_deprecated_exists_and_is_announced_in_time() -> None:
    routes = {str(one.pattern) for one in get_resolver("config.urls").url_patterns}
    for outer in get_resolver("config.urls").url_patterns:
        routes |= {f"{outer.pattern}{inner.pattern}" for inner in getattr(outer, "url_patterns", ())}
    for route, things in deprecations.TABLE.items():
        assert route in routes
        assert all(one.sunset - one.since >= timedelta(days=deprecations.NOTICE_DAYS) for one in things)


def test_a_token_of_a_session_is_still_asked_for(user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert client.post(THINGS, {"name": "a"}, content_type="application/json").status_code == 403
    headers = csrf(client)
    assert client.post(THINGS, {"name": "a"}, content_type="application/json", headers=headers).status_code == 201
