"""Exports, and that they import to the same entries."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, date, datetime
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.models import User
from knowledge import exports, services
from knowledge.imports import markdown
from knowledge.imports.limits import Limits
from knowledge.imports.tables import read_jsonl
from knowledge.models import Entry, EntryRevision, KnowledgePack
from tests.conftest import Api
from tests.knowledge.conftest import ITEMS, Fill

ODD: list[dict[str, Any]] = [
    {"title": "--- : # ' \" [x] {y} &z *w !t %p", "content": "---\ntitle: no\n---\n\n# Not a title\n"},
    {"title": "no", "content": "\ufeff  leading and trailing \r\n\r\n\t\u2028 \x85 \x1b \x01\x02\x03\x04"},
    {"title": "1.0", "content": "0", "tags": ["yes", "null", "ünï:code", "a, b"], "external_id": "1e5"},
    {"title": "../../etc/passwd", "content": "x" * 200_000, "metadata": {"n": 1.5e300, "deep": {"a": [None, True, {"": "~"}]}}},
    {"title": "\U0001f600 emoji", "content": "\U0001f600\ufffe\uffff", "source_url": "https://example.org/?a=b&c=%20#d"},
]  # fmt: skip


def state(pack: KnowledgePack) -> list[dict[str, Any]]:
    """What a round trip keeps."""
    entries = Entry.objects.filter(pack=pack, deleted_at=None).order_by("ordinal", "pk")
    names = (
        "title",
        "content_hash",
        "tags",
        "metadata",
        "source_url",
        "external_id",
        "enabled",
        "reviewed_at",
        "review_by",
    )
    return [{name: getattr(entry, name) for name in names} for entry in entries]


@pytest.fixture
def odd(pack: KnowledgePack, fill: Fill, settings: LazySettings, tmp_path: Path) -> KnowledgePack:
    settings.DATA_DIR = tmp_path
    fill([*ITEMS, *ODD], index=False)
    first, second = Entry.objects.order_by("ordinal")[:2]
    services.set_entry_enabled(first.pk, enabled=False)
    Entry.objects.filter(pk=second.pk).update(
        reviewed_at=datetime(2026, 3, 1, 12, 30, 15, 123456, UTC), review_by=date(2027, 1, 31)
    )
    return pack


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("suffix", [".jsonl", ".zip"])
def test_export_delete_import_gives_the_same_pack(odd: KnowledgePack, user: User, tmp_path: Path, suffix: str) -> None:
    before = state(odd)
    assert len(before) == len(ITEMS) + len(ODD)
    file = tmp_path / f"pack{suffix}"
    call_command("packs", "export", str(odd.pk), str(file), stdout=StringIO())
    services.delete_pack(odd.pk)
    call_command("packs", "import", str(file), owner=user.email, stdout=StringIO(), stderr=StringIO())
    new = KnowledgePack.objects.exclude(pk=odd.pk).get()
    assert state(new) == before
    assert exports.header(new) == exports.header(odd)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("form", ["jsonl", "markdown"])
def test_an_export_into_its_own_pack_changes_nothing(odd: KnowledgePack, user: User, tmp_path: Path, form: str) -> None:
    from knowledge.imports import files, job
    from knowledge.services import imports as service

    before = state(odd)
    stored, file = files.create()
    with file:
        file.writelines(exports.export(odd, form))
    done = service.create_import(odd, user, path=stored, filename=f"x{exports.SUFFIXES[form]}")
    job.run(done.pk)
    assert set(done.items.values_list("status", flat=True)) == {"unchanged"}
    assert state(odd) == before


Text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=60).filter(str.strip)
Json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | Text,
    lambda child: st.lists(child, max_size=3) | st.dictionaries(Text, child, max_size=3),
    max_leaves=6,
)
Entries = st.builds(
    lambda title, content, tags, metadata, external: Entry(
        title=title.strip(),
        tags=list(dict.fromkeys(tag.strip() for tag in tags)),
        metadata=metadata,
        external_id=external,
        revision=EntryRevision(title=title, content=content),
    ),
    Text,
    Text,
    st.lists(Text, max_size=3),
    st.dictionaries(Text, Json, max_size=3),
    st.none() | Text.map(str.strip),
)


def expected(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in exports.entry_fields(entry).items() if value is not None}


@given(Entries)
@hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_entry_survives_its_markdown(entry: Entry) -> None:
    text = exports.markdown(entry).decode()
    assert markdown.is_own(text)
    (draft,) = markdown.read(text, "x.md", Limits())
    assert draft == expected(entry)


@given(Entries)
@hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_entry_survives_its_line(entry: Entry) -> None:
    line = exports._line(expected(entry)).decode()
    (read,) = read_jsonl(line)
    assert read.draft == expected(entry)


@pytest.mark.django_db
def test_a_viewer_gets_json_lines_as_an_attachment(
    api: Api, other_api: Api, anonymous: Api, pack: KnowledgePack, fill: Fill
) -> None:
    fill(index=False)
    path = f"/api/knowledge-packs/{pack.pk}/export"
    assert (other_api.get(path).status_code, anonymous.get(path).status_code) == (404, 401)
    KnowledgePack.objects.update(visibility="public")
    answer = other_api.get(path)
    header, *entries = (json.loads(line) for line in b"".join(answer.streaming_content).splitlines())
    assert (answer["Content-Type"], answer["X-Content-Type-Options"]) == ("application/x-ndjson", "nosniff")
    assert answer["Content-Disposition"] == 'attachment; filename="notes.jsonl"'
    assert (header["quorum_pack"], header["name"], header["entry_count"]) == (1, "Notes", 3)
    assert [entry["external_id"] for entry in entries] == ["solar", "bread", "cafe"]
    assert api.get(f"{path}?format=exe").json()["code"] == "bad_format"


@pytest.mark.django_db
def test_the_zip_holds_one_file_for_each_entry(api: Api, pack: KnowledgePack, fill: Fill) -> None:
    fill(index=False)
    answer = api.get(f"/api/knowledge-packs/{pack.pk}/export?format=markdown")
    with zipfile.ZipFile(BytesIO(b"".join(answer.streaming_content))) as archive:
        assert archive.namelist() == [
            "pack.json", "000001-solar-panels-on-the-roof.md", "000002-sourdough-bread.md", "000003-the-cafe-in-zurich.md",
        ]  # fmt: skip
        assert archive.testzip() is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "nonsense", "x.jsonl"], "is not the id of anything"),
        (["export", "01900000-0000-7000-8000-000000000000", "x.jsonl"], "no such knowledge pack"),
        (["import", "x.jsonl", "--owner", "nobody@example.org"], "no user"),
        (["import", "/nonexistent/x.jsonl", "--owner", "ada@example.org"], "No such file"),
    ],
    ids=["bad-id", "unknown-pack", "unknown-owner", "missing-file"],
)
def test_the_command_says_what_is_wrong(user: User, arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("packs", *arguments)
