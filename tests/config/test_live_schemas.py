"""What is published of the live protocol: complete, valid, and what really goes out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import transaction
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from accounts.models import User
from config.live import STREAMS, document
from council import selectors
from council.event_types import COUNCIL_SESSIONS
from council.models import SessionEvent
from knowledge.event_types import KNOWLEDGE_PACKS
from knowledge.services import create_pack
from realtime import asyncapi, frames, log
from realtime.schemas import EventType, Shape, StreamSchema
from realtime.sources import LoggedEvent
from tests.conftest import Api
from tests.support.councils import Convene, conclude
from tests.support.described import undescribed

PAGE = Path(settings.BASE_DIR) / "docs" / "events.md"


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return document("https://quorum.example.org", "__Host-quorum_session")


def resolved(published: dict[str, Any], ref: str) -> Any:
    found: Any = published
    for step in ref.removeprefix("#/").split("/"):
        found = found[step]
    return found


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        for one in value.values():
            yield from refs(one)
    elif isinstance(value, list):
        for one in value:
            yield from refs(one)


def validator(published: dict[str, Any], message: str) -> Draft202012Validator:
    """Of whole frames: another implementation than the one that the suite checks events with."""
    payload = published["components"]["messages"][message]["payload"]
    return Draft202012Validator(
        {**payload, "components": published["components"]}, format_checker=Draft202012Validator.FORMAT_CHECKER
    )


# --- The page -----------------------------------------------------------------------------------------------------------


def test_the_page_is_what_the_schemas_say() -> None:
    call_command("events_doc", "--check")


def test_a_page_that_says_something_else_is_refused_and_written_anew(tmp_path: Path) -> None:
    stale = tmp_path / "events.md"
    stale.write_text(PAGE.read_text().replace("| `turn.started` |", "| `turn.begun` |"))
    with pytest.raises(CommandError, match="events_doc --write"):
        call_command("events_doc", "--check", "--page", str(stale))
    call_command("events_doc", "--write", "--page", str(stale))
    assert stale.read_text() == PAGE.read_text()


def test_a_page_without_the_marks_is_refused(tmp_path: Path) -> None:
    bare = tmp_path / "events.md"
    bare.write_text("# Events\n")
    with pytest.raises(CommandError, match="begin"):
        call_command("events_doc", "--write", "--page", str(bare))


# --- AsyncAPI -----------------------------------------------------------------------------------------------------------


def test_every_reference_in_the_document_leads_somewhere(published: dict[str, Any]) -> None:
    found = set(refs(published))
    assert len(found) > 100
    assert [ref for ref in found if resolved(published, ref) is None] == []


def test_operations_send_and_receive_what_their_channels_have(published: dict[str, Any]) -> None:
    assert published["asyncapi"] == "3.0.0"
    for name, channel in published["channels"].items():
        said = {
            one["$ref"].removeprefix(f"#/channels/{name}/messages/")
            for operation in published["operations"].values()
            if operation["channel"]["$ref"] == f"#/channels/{name}"
            for one in operation["messages"]
        }
        assert said == channel["messages"].keys()


def test_every_event_of_every_stream_is_a_message_of_its_channel(published: dict[str, Any]) -> None:
    for stream in STREAMS:
        assert stream.by_name.keys() <= published["channels"][stream.name]["messages"].keys()
        assert len(stream.by_name) == len(stream.events)


def test_every_schema_is_a_json_schema(published: dict[str, Any]) -> None:
    for one in published["components"]["schemas"].values():
        Draft202012Validator.check_schema(one)


def test_it_names_the_server_and_its_cookie(published: dict[str, Any]) -> None:
    assert published["servers"]["quorum"]["host"] == "quorum.example.org"
    assert published["servers"]["quorum"]["protocol"] == "wss"
    assert published["components"]["securitySchemes"]["session"]["name"] == "__Host-quorum_session"


def test_two_shapes_of_one_name_are_refused() -> None:
    class Turn(Shape):
        other: int

    rival = StreamSchema("rivals", "/ws/rivals/{id}", "Rivals", Turn, (EventType("rival.moved", Turn, "it moved"),))
    with pytest.raises(ValueError, match="Turn"):
        asyncapi.schemas([*STREAMS, rival])


@pytest.mark.django_db
def test_it_is_served_as_json_and_as_yaml_to_everybody(anonymous: Api) -> None:
    as_json, as_yaml = anonymous.get("/api/asyncapi.json"), anonymous.get("/api/asyncapi.yaml")
    assert as_json.status_code == as_yaml.status_code == 200
    assert as_yaml["Content-Type"] == "application/yaml"
    assert yaml.safe_load(as_yaml.content) == as_json.json() == json.loads(json.dumps(as_json.json()))
    assert "session.created" in as_json.json()["channels"]["council-sessions"]["messages"]


# --- What goes out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "frame"),
    [
        ("Replay", frames.replay(7)),
        ("Delta", frames.delta(str(uuid4()), 1, 0, "So")),
        ("Presence", frames.presence(2)),
        ("Heartbeat", frames.heartbeat(7)),
        ("Pong", frames.PONG),
    ],
)
def test_frames_are_as_published(published: dict[str, Any], shape: str, frame: frames.Frame) -> None:
    check = validator(published, shape)
    said = json.loads(frame.text)
    check.validate(said)
    assert not check.is_valid({**said, "more": 1})


@pytest.mark.django_db(transaction=True)
def test_a_council_s_frames_are_as_published(user: User, convene: Convene, published: dict[str, Any]) -> None:
    session = conclude(user, convene(("fake-option-1", "fake-option-2", "fake-400", "fake"), protocol={"rounds": 1}))
    rows = list(SessionEvent.objects.filter(stream=session))
    assert len({row.type for row in rows}) > 8
    for row in rows:
        frame = frames.event(LoggedEvent(row.seq, row.type, row.created_at, row.payload))
        validator(published, f"council-sessions.{row.type}").validate(json.loads(frame.text))
    state = selectors.session_snapshot(session.pk)
    snapshot = frames.snapshot(state["last_seq"], state)
    validator(published, "council-sessions.snapshot").validate(json.loads(snapshot.text))


COUNTS = {"status": "draft", "entry_count": 0, "updated_at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("kind", "data", "fault"),
    [
        ("entry.noted", {}, "no such event"),
        ("entry.purged", {"entries": []}, "entry.purged pack: Field required"),
        ("entry.purged", {"entries": [], "pack": {**COUNTS, "entry_count": "0"}}, "pack.entry_count"),
        ("entry.purged", {"entries": ["x"], "pack": COUNTS}, "entries.0"),
        ("entry.purged", {"entries": [], "pack": COUNTS, "more": 1}, "more"),
    ],
)
@pytest.mark.django_db
def test_the_suite_s_check_finds_what_is_not_as_published(user: User, kind: str, data: Any, fault: str) -> None:
    pack = create_pack(user, name="P")
    assert undescribed() == []
    with transaction.atomic():
        log.append(pack, (kind, data))
        (found,) = undescribed()
        transaction.set_rollback(True)
    assert fault in found


def test_left_out_is_not_null() -> None:
    index = {"space": 1, "state": "ready"}
    event = {"actor": None, "index": index}
    assert KNOWLEDGE_PACKS.event_faults("pack.index_changed", event) == []
    assert KNOWLEDGE_PACKS.event_faults("pack.index_changed", {**event, "index": {**index, "recall": None}})
    assert COUNCIL_SESSIONS.event_faults("session.paused", {"session": {}})
