"""The live protocol as an AsyncAPI 3.0 document (https://www.asyncapi.com/docs/reference/specification/v3.0.0)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import cleandoc
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from realtime.schemas import CLIENT_FRAMES, SERVER_FRAMES, EventType, Shape, StreamSchema

Json = dict[str, Any]
SPEC: Final = "3.0.0"


def document(streams: Sequence[StreamSchema], *, host: str, secure: bool, cookie: str, version: str) -> Json:
    """``host``: name and port of the server, as they stand in its URL; ``cookie``: the session cookie's name."""
    security = _security(cookie)
    return {
        "asyncapi": SPEC,
        "info": {
            "title": "Quorum, live",
            "version": version,
            "description": "Event logs of council sessions and knowledge packs over WebSocket. docs/events.md says how to resume, who"
            " may connect and what the close codes mean.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "quorum": {
                "host": host,
                "protocol": "wss" if secure else "ws",
                "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in security],
            }
        },
        "channels": {stream.name: _channel(stream) for stream in streams},
        "operations": {name: one for stream in streams for name, one in _operations(stream).items()},
        "components": {
            "messages": _messages(streams),
            "schemas": schemas(streams),
            "securitySchemes": security,
        },
    }


def schemas(streams: Iterable[StreamSchema]) -> Json:
    """JSON Schemas (2020-12) of every frame, snapshot and event, by name."""
    shapes = [*CLIENT_FRAMES, *SERVER_FRAMES]
    for stream in streams:
        shapes += [stream.snapshot, *(event.data for event in stream.events)]
    unique = list(dict.fromkeys(shapes))
    _, found = models_json_schema(
        [(shape, "validation") for shape in unique], ref_template="#/components/schemas/{model}"
    )
    named: Json = found["$defs"]
    if clashing := sorted(name for name in named if "__" in name):
        raise ValueError(f"two shapes have the same name: {', '.join(clashing)}")
    return named


def event_frame(event: EventType) -> Json:
    """JSON Schema of an event as it comes over the socket."""
    return _frame("event", seq=_SEQ, type={"const": event.name}, at=_TIME, data=_schema(event.data))


def snapshot_frame(stream: StreamSchema) -> Json:
    return _frame("welcome", head_seq=_SEQ, mode={"const": "snapshot"}, snapshot=_schema(stream.snapshot))


_SEQ: Final[Json] = {"type": "integer", "minimum": 0}
_TIME: Final[Json] = {"type": "string", "format": "date-time"}


def _security(cookie: str) -> Json:
    session = "The session cookie, with an Origin of ours."
    return {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key on the handshake, with the scopes of the stream.",
        },
        "session": {"type": "httpApiKey", "in": "cookie", "name": cookie, "description": session},
    }


def _frame(kind: str, **fields: Json) -> Json:
    properties = {"t": {"const": kind}, **fields}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _schema(shape: type[Shape]) -> Json:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


# --- Messages -----------------------------------------------------------------------------------------------------------


def _messages(streams: Iterable[StreamSchema]) -> Json:
    found = {shape.__name__: _message(shape.__name__, _said(shape), _schema(shape)) for shape in _FRAMES}
    for stream in streams:
        about = "The newcomer's state, or that of a client too far behind: go on from head_seq."
        found[f"{stream.name}.{SNAPSHOT}"] = _message("welcome", about, snapshot_frame(stream))
        for event in stream.events:
            found[f"{stream.name}.{event.name}"] = _message(event.name, event.when, event_frame(event))
    return found


_FRAMES: Final = (*CLIENT_FRAMES, *SERVER_FRAMES)
SNAPSHOT: Final = "snapshot"


def _message(name: str, summary: str, schema: Json) -> Json:
    return {"name": name, "summary": summary, "payload": schema}


def _said(shape: type[Shape]) -> str:
    return cleandoc(shape.__doc__ or "")


# --- Channels and operations --------------------------------------------------------------------------------------------


def _channel(stream: StreamSchema) -> Json:
    parameters = {"parameters": {"id": {"description": "UUID"}}} if "{id}" in stream.path else {}
    common = {shape.__name__: shape.__name__ for shape in _FRAMES}
    own = {name: f"{stream.name}.{name}" for name in (SNAPSHOT, *stream.by_name)}
    return {
        "address": stream.path,
        "title": stream.title,
        **parameters,
        "messages": {name: {"$ref": f"#/components/messages/{full}"} for name, full in (common | own).items()},
    }


def _sent(stream: StreamSchema) -> list[str]:
    return [*(shape.__name__ for shape in SERVER_FRAMES), SNAPSHOT, *stream.by_name]


def _received() -> list[str]:
    return [shape.__name__ for shape in CLIENT_FRAMES]


def _operations(stream: StreamSchema) -> Json:
    """As the server sees them: it receives what clients say and sends the rest."""
    return {
        f"{stream.name}.hear": _operation("receive", stream, _received()),
        f"{stream.name}.tell": _operation("send", stream, _sent(stream)),
    }


def _operation(action: str, stream: StreamSchema, names: Iterable[str]) -> Json:
    channel = f"#/channels/{stream.name}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in names],
    }
