"""The part of ``docs/events.md`` that is made from the streams' schemas: a table of events for each stream, and one of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from realtime.asyncapi import schemas
from realtime.schemas import CLIENT_FRAMES, SERVER_FRAMES, EventType, StreamSchema

Json = dict[str, Any]
BEGIN: Final = "<!-- made by `manage.py events_doc --write`: begin -->"
END: Final = "<!-- made by `manage.py events_doc --write`: end -->"
SPREAD: Final = 8  # an event's data with more fields than this is a row of its own among the shapes
_FORMATS: Final = {"uuid": "id", "date-time": "time", "date": "date"}


def replaced(page: str, streams: Sequence[StreamSchema]) -> str:
    """The page with what is between the marks made anew. Raises ``ValueError`` without the marks."""
    before, begun, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{generated(streams)}\n{END}{after}"


def generated(streams: Sequence[StreamSchema]) -> str:
    known = schemas(streams)
    parts = [_events(stream, known) for stream in streams]
    return "\n\n".join([*parts, _shapes(known, _spread(streams, known))])


def _events(stream: StreamSchema, known: Json) -> str:
    rows = [
        f"| `{event.name}` | {_cell(event.when)} | {_data(known[event.data.__name__], event)} |"
        for event in stream.events
    ]
    head = [f"### {stream.title}: `{stream.path}`", "", f"Snapshot: `{stream.snapshot.__name__}`.", ""]
    return "\n".join([*head, "| type | when | data |", "|---|---|---|", *rows])


def _data(schema: Json, event: EventType) -> str:
    return _fields(schema) if len(schema["properties"]) <= SPREAD else f"`{event.data.__name__}`"


def _spread(streams: Sequence[StreamSchema], known: Json) -> set[str]:
    """Names of what is shown in the tables of events, or is a frame, and so is no row of the shapes."""
    data = {event.data.__name__ for stream in streams for event in stream.events}
    frames = {shape.__name__ for shape in (*CLIENT_FRAMES, *SERVER_FRAMES)}
    return frames | {name for name in data if len(known[name]["properties"]) <= SPREAD}


def _shapes(known: Json, left_out: set[str]) -> str:
    rows = [f"| `{name}` | {_shape(one)} |" for name, one in sorted(known.items()) if name not in left_out]
    intro = (
        "A field with `?` may be left out. An *id* is a UUID, a *time* RFC 3339 in UTC. The JSON Schemas themselves are the"
        " `components.schemas` of the AsyncAPI document. An event of an older version lacks fields that came after it."
    )
    return "\n".join(["### Shapes", "", intro, "", "| shape | fields |", "|---|---|", *rows])


def _shape(schema: Json) -> str:
    said = _cell(schema.get("description", ""))
    return f"{said}<br>{_fields(schema)}" if said else _fields(schema)


def _fields(schema: Json) -> str:
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    required = set(schema.get("required", ()))
    return "; ".join(_field(name, one, name in required) for name, one in schema.get("properties", {}).items())


def _field(name: str, schema: Json, required: bool) -> str:
    said = f" ({_cell(schema['description'])})" if "description" in schema else ""
    return f"`{name}`{'' if required else '?'}: {_type(schema)}{said}"


def _type(schema: Json) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return " or ".join(f'"{one}"' for one in _constants(schema))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object":
        return f"map to {_type(_values(schema))}"
    return _FORMATS.get(schema.get("format", "")) or str(schema.get("type", "anything"))


def _values(schema: Json) -> Json:
    values = schema.get("additionalProperties")
    return values if isinstance(values, dict) else {}


def _constants(schema: Json) -> list[object]:
    return list(schema["enum"]) if "enum" in schema else [schema["const"]]


def _cell(text: str) -> str:
    """Docstrings mark code by two backticks, the page by one."""
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")
