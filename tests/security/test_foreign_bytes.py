"""Every parser of what strangers, files, models and servers send: any bytes give a value or the one declared error, and soon."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from accounts import challenges, keyformat, logins
from accounts.api.conditions import names, require_match
from accounts.api.pagination import Cursor
from accounts.api.parsers import strict_json
from accounts.errors import PreconditionFailed
from accounts.models import User
from accounts.services import client_ip
from config.http import compression, proxies
from council.deliberation import citations, parsing, prompts
from council.deliberation.parsing import ReplyError
from council.llm.anthropic import Anthropic
from council.llm.errors import LlmError, retry_after_seconds
from council.llm.openai_compat import OpenAICompatible
from council.llm.progress import Progress
from council.llm.types import ChatRequest, Endpoint
from knowledge import chunking, query
from knowledge.api import ordinals
from knowledge.imports import child
from knowledge.imports.limits import Job, Limits
from knowledge.imports.refusal import Refused as FileRefused
from knowledge.services import create_pack
from realtime import consumers, sse
from realtime.auth import Refused
from realtime.errors import InvalidInput
from tests.conftest import Api

SECONDS = 2.0  # of processor time for one input, of which most take a thousandth
SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck))
DEEP_JSON = b"[" * 100_000


@dataclass(frozen=True)
class Parser:
    """``seeds``: pieces of what it reads, for Hypothesis to put together with anything else."""

    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...] = ()
    seeds: tuple[bytes, ...] = ()


def of_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """As headers and addresses come: each byte a character."""
    return lambda data: read(data.decode("latin-1"))


def of_utf8(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", "replace"))


def hello(data: bytes) -> object:
    return consumers.parse_hello(consumers.parse(data.decode("utf-8", "replace")))


def last_event_id(text: str) -> object:
    request = HttpRequest()
    request.META["HTTP_LAST_EVENT_ID"] = text
    found = sse._last_seq(request)  # nothing else reads it
    assert found is None or found >= 0
    return found


def forwarded(text: str) -> object:
    """What comes out is an address, and one that can be stored."""
    request = HttpRequest()
    request.META |= {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": text, "HTTP_FORWARDED": text}
    proxies.TrustedProxies(lambda _: None).before(request)
    ipaddress.ip_address(request.META["REMOTE_ADDR"])
    assert "%" not in str(client_ip(request))
    return None


def said_by(provider: Any) -> Callable[[bytes], object]:
    """A stream's bytes, line by line, as they come from a model's server; and the figures that are stored of it."""

    def read(data: bytes) -> object:
        progress = Progress(ChatRequest(Endpoint("http://127.0.0.1:1/v1", "m"), "s", "u"), None)
        reader = provider.__new__(provider)
        for line in data.split(b"\n"):
            reader._line(line, progress)  # what reads the wire
        usage = progress.usage
        assert 0 <= usage.prompt_tokens < 2**31
        assert 0 <= usage.completion_tokens < 2**31
        return progress.reply()

    return read


def cited(text: str) -> object:
    assert all(0 <= span.start < span.end <= len(text) for span in citations.sentences(text))
    citations.support(text, text[::-1])
    return citations.round_marks(citations.strip_marks(text)), citations.figures(text), citations.quotations(text)


def wait(text: str) -> object:
    found = [retry_after_seconds({name: text}) for name in ("retry-after", "retry-after-ms")]
    assert all(one is None or one >= 0 for one in found)
    return found


def headings(text: str) -> object:
    return (
        [chunk.end for chunk in chunking.chunk(text, lambda parts: [len(part.split()) for part in parts])]
        if text.strip()
        else []
    )


LABELS = {"A": "c1", "B": "c2"}
REPLY = (b'{"answer": "', b'"confidence": 0.5', b'"claims": [', b'"ranking": ["A", "B"]', b'"scores": {"A": 9}', b"<think>",
         b"</think>", b"```json", b'"choice": "A"', b"Candidate A", b"NaN", b"1e999", b"\\ud800", b"}", b"]", DEEP_JSON)  # fmt: skip
EVENT = (b"data: ", b"\n", b'{"choices": [{"delta": {"content": "x"}}]}', b'{"error": {"code": "\xc2\xb2\xc2\xb2\xc2\xb2"}}', b"[DONE]",
         b'{"error": {"code": 429}}', b'{"error": {"code": "4290000"}}', b'{"choices": [], "usage": {"prompt_tokens": "x"}}',
         b'{"usage": {"prompt_tokens": 99999999999999999999, "completion_tokens": -1}}', b'{"choices": [{"delta": {"content": 5}}]}',
         b'{"choices": [{"delta": {"tool_calls": [{"index": "x", "function": 1}]}}]}', b'{"model": 7}',
         b'{"choices": [{"finish_reason": 1}]}',
         b'{"type": "message_start", "message": {"model": 1, "usage": {"input_tokens": 1.5}}}',
         b'{"type": "error", "error": {"type": []}}', b'{"type": []}',
         b'{"type": "content_block_delta", "delta": 1}', DEEP_JSON)  # fmt: skip
PARSERS: dict[str, Parser] = {
    "json body": Parser(strict_json, (InvalidInput,), (b'{"a": ', b"1e999", b"\\ud800", b"-", b"}", b'"', DEEP_JSON)),
    "cursor": Parser(of_text(Cursor.decode), (InvalidInput,), (b"WzAsIjIwMjYt", b"==", b"W1tb" * 30_000)),
    "ordinal cursor": Parser(of_text(ordinals._parsed), (InvalidInput,), (b"after-", b"before-", b"\xb2", b"9" * 30)),
    "If-Match": Parser(
        of_text(lambda text: require_match(text, 3)), (InvalidInput, PreconditionFailed), (b'"v3"', b"W/", b"*", b",", b"-br")
    ),
    "If-None-Match": Parser(of_text(lambda text: names(text, '"v3"')), (), (b'"v3"', b"W/", b"*", b",")),
    "Accept-Encoding": Parser(of_text(compression._accepted), (), (b"gzip;q=", b"nan", b"inf", b"1_0", b"br", b"*", b",")),
    "Last-Event-ID": Parser(of_text(last_event_id), (Refused,), (b"1", b"\xb2", b"9" * 30, b"-")),
    "Forwarded": Parser(of_text(forwarded), (), (b"for=", b'"[::1%eth0]:1"', b"fe80::1%x", b",", b";", b"192.0.2.1", b":")),
    "API key": Parser(of_text(keyformat.is_well_formed), (), (b"qk_", b"A" * 42)),
    "user agent": Parser(of_text(logins.device), (), (b"Firefox/", b"Linux", b"Mozilla/5.0")),
    "challenge": Parser(
        of_text(lambda text: challenges.redeem("a", text, 1)), (), (b"1.", b"9" * 12, b"." + b"a" * 16 + b".", b"0" * 64)
    ),
    "search query": Parser(of_utf8(query.parse), (), (b'"', b" -", b'-"', b"a" * 3000)),
    "socket frame": Parser(hello, (Refused,), (b'{"v": 1', b'"ticket": "', b"\\ud800", b'"last_seq": 1', b"}", b"[" * 4000)),
    "OpenAI stream": Parser(said_by(OpenAICompatible), (LlmError,), EVENT),
    "Anthropic stream": Parser(said_by(Anthropic), (LlmError,), EVENT),
    "Retry-After": Parser(of_text(wait), (), (b"1e999", b"nan", b"Mon, 01 Jan 99999", b"00:00:00 GMT", b"-", b"+9999999")),
    "reply": Parser(of_utf8(parsing.json_object), (ReplyError,), REPLY),
    "ballot": Parser(of_utf8(lambda text: parsing.ballot(text, LABELS)), (ReplyError,), REPLY),
    "scores": Parser(of_utf8(lambda text: parsing.scores(text, LABELS)), (ReplyError,), REPLY),
    "synthesis": Parser(of_utf8(parsing.synthesis), (ReplyError,), REPLY),
    "dissent": Parser(of_utf8(parsing.dissent), (ReplyError,), REPLY),
    "verdict": Parser(of_utf8(parsing.verdict), (ReplyError,), REPLY),
    "choice": Parser(of_utf8(lambda text: parsing.choice(text, ["A", "B"])), (ReplyError,), REPLY),
    "prose": Parser(of_utf8(lambda text: parsing.prose(text, "tok")), (ReplyError,), (*REPLY, b"<<<tok", b"tok" * 3000, b"\n" * 3000)),
    "prompt text": Parser(of_utf8(prompts.clean), (), (b"<|im_start|>", b"[INST]", b" " * 3000, b"\t\n")),
    "citations": Parser(of_utf8(cited), (), (b"[1]", b"[1, 2-300]", b"...", b". ", b"\n\n", b"\xe2\x80\x9c", b"." * 3000, b" " * 3000)),
    "Markdown": Parser(of_utf8(headings), (), (b"# ", b"```", b" " * 3000, b"#\t", b"\n", b"- ", b"." * 3000)),
}  # fmt: skip


def bytes_of(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    piece = st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
    return st.lists(piece | st.sampled_from(seeds or (b"",)), max_size=8).map(b"".join)


def soon(read: Callable[[bytes], object], data: bytes, errors: tuple[type[Exception], ...]) -> None:
    began = time.thread_time()
    with contextlib.suppress(*errors):
        read(data)
    assert time.thread_time() - began < SECONDS


@pytest.mark.parametrize("name", list(PARSERS))
def test_any_bytes_give_a_value_or_the_declared_error(name: str) -> None:
    parser = PARSERS[name]
    for seed in parser.seeds:
        soon(parser.read, seed, parser.errors)

    @SLOW
    @given(bytes_of(parser.seeds))
    def run(data: bytes) -> None:
        soon(parser.read, data, parser.errors)

    run()


# --- Files ------------------------------------------------------------------------------------------------------------


def zipped(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("word/document.xml", data)
        archive.writestr("[Content_Types].xml", b"<Types/>")
    return made.getvalue()


FILE_ERRORS = (FileRefused, RecursionError)  # the child process tells of both
FILES = {
    "a.md": (
        b"---\n",
        b"title: ",
        b"tags: [",
        b"*a",
        b"&a",
        b"!!python/object:os.system",
        b"# ",
        b"\n===\n",
        b" " * 3000,
        b"\n",
    ),
    "a.csv": (b"title,content\n", b'"', b";", b"\r\n", b"metadata.", b"=1+1", b"\x00"),
    "a.jsonl": (b'{"title": "t", "content": "c"}\n', b"NaN", b"\\ud800", DEEP_JSON, b"9" * 5000),
    "a.html": (
        b"<html>",
        b"<!--",
        b"-->",
        b"<!--a-->" * 40,
        b"<!ENTITY",
        b"<div>" * 300,
        b"&#xD800;",
        b"<meta charset=",
        b"utf-7",
    ),
    "a.txt": (b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[2J", b" " * 3000),
    "a.docx": (
        zipped(b"<w:document/>"),
        zipped(b"<a/>"),
        zipped(b"<!DOCTYPE a [<!ENTITY b 'c'>]>"),
        b"PK\x03\x04",
        b"\x00\xff",
    ),
    "a.zip": (zipped(b"a"), b"PK\x05\x06" + b"\x00" * 18, b"PK\x03\x04", b"\xff" * 20),
}


@pytest.mark.parametrize("name", list(FILES))
def test_any_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    path, out = tmp_path / "file", tmp_path / "out"
    out.mkdir()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        with tempfile.TemporaryDirectory(dir=out) as folder:
            for said in child.read(Job(str(path), name), folder, Limits()):
                assert said.keys() & {"item", "failed", "file"}

    for seed in FILES[name]:
        soon(read, seed, FILE_ERRORS)

    @SLOW
    @given(bytes_of(FILES[name]))
    def run(data: bytes) -> None:
        soon(read, data, FILE_ERRORS)

    run()


# --- Over HTTP --------------------------------------------------------------------------------------------------------

HEADERS = (
    "Authorization", "X-Session-Token", "Cookie", "Idempotency-Key", "If-Match", "If-None-Match", "Accept", "Accept-Encoding",
    "Accept-Language", "Content-Type", "Origin", "X-Forwarded-For", "Forwarded", "X-Request-ID", "Last-Event-ID", "User-Agent", "Referer",
    "Range", "X-CSRFToken", "X-HTTP-Method-Override", "HX-Request", "traceparent", "Content-Encoding", "Prefer",
)  # fmt: skip
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60) | st.sampled_from(
    [
        "Bearer qk_",
        "Bearer",
        '"v1"',
        "text/html;q=x",
        "*/*;q=\xb2",
        "sessionid=\xff",
        "application/json; charset=\xff",
        "null",
        "bytes=0-",
    ]
)


@settings(SLOW, max_examples=max(25, settings().max_examples // 4))
@given(st.dictionaries(st.sampled_from(HEADERS), VALUES, max_size=4), st.sampled_from(["GET", "POST", "PATCH"]))
@example({"Authorization": "Bearer qk_\xff"}, "GET")
@example({"Content-Type": "multipart/form-data"}, "POST")
@pytest.mark.django_db
def test_any_header_is_refused_or_passed_over(headers: dict[str, str], method: str) -> None:
    client = Client(raise_request_exception=True)
    for path in ("/api/me", "/api/knowledge-packs", "/packs/new"):
        answer = client.generic(method, path, b"{}", headers=headers)
        assert answer.status_code in (200, 302, 400, 401, 403, 404, 405, 406, 415), (path, answer.content)
        assert answer.status_code != 200 or path == "/accounts/login"


@pytest.mark.django_db
def test_any_search_is_answered(api: Api, user: User) -> None:
    pack = create_pack(user, name="Mine")
    words = st.text(max_size=30) | st.sampled_from(
        ["٣", "²", "1" * 31, "-.5", "2026-99-99", "infinity", "NaN", "{}", "\x00", "\ud800"]
    )
    operators = st.sampled_from(["", ".eq", ".gt", ".in", ".lt", ".ne", ".like"])

    @SLOW
    @given(q=words, key=words, operator=operators, value=words, where=st.sampled_from(["/entries/search", "/entries"]))
    @example(q="a", key="n", operator="", value="٣", where="/entries/search")
    @example(q="a", key="n", operator=".gt", value="٣", where="/entries/search")
    def run(q: str, key: str, operator: str, value: str, where: str) -> None:
        given: dict[str, Any] = {"q": q, f"meta.{key}{operator}": value, "limit": value}
        if where.endswith("search"):
            del given["limit"]
        else:
            given = {"cursor": value, "order": key, "tag": q, "source": value}
        given = {
            name.encode("utf-8", "replace").decode(): one.encode("utf-8", "replace").decode()
            for name, one in given.items()
        }
        answer = api.client.get(f"/api/knowledge-packs/{pack.pk}{where}", given)
        assert answer.status_code in (200, 400), answer.content

    run()
