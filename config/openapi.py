"""What every operation of the OpenAPI document has in common: errors, conditions, limits, marks of what is on its way out.

The routes' own shapes come from drf-spectacular; this is a hook behind it (``SPECTACULAR_SETTINGS``), so that no view can forget.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from config.deprecations import TABLE, Deprecated
from config.openapi_examples import BODIES

Json = dict[str, Any]
PROBLEM: Final = "application/problem+json"
HEADERS: Final = {
    "RateLimit": 'What is left, one item for each counter: `"read";r=5999;t=31` (draft-ietf-httpapi-ratelimit-headers)',
    "RateLimit-Policy": 'What is allowed: `"read";q=6000;w=60`',
    "X-Request-ID": "The caller's own, when it is harmless, else a new one; it is in our logs",
}
# Status → what it means here, and the codes that tell its cases apart; the first stands in the example.
ERRORS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "400": ("The request cannot be meant.", ("invalid", "malformed_json", "bad_cursor", "bad_limit", "bad_query")),
    "401": ("No key and no session, or one that is not good.", ("not_authenticated", "authentication_failed")),
    "403": ("It is visible, but this caller may not do that.", ("forbidden", "permission_denied", "csrf_failed", "quota_exceeded")),
    "404": ("It does not exist, or not for this caller.", ("not_found",)),
    "406": ("It is not to be had in a form that `Accept` names.", ("not_acceptable",)),
    "409": ("Its state, or another object, does not allow it.", ("conflict", "illegal_state", "idempotency_key_in_use")),
    "412": ("`If-Match` names another version than the current one.", ("precondition_failed",)),
    "413": ("The body is too large.", ("too_large",)),
    "415": ("The body is in a form that is not taken here.", ("unsupported_media_type",)),
    "422": ("The `Idempotency-Key` was used before, with another request.", ("idempotency_key_reused",)),
    "429": ("Too many requests; `Retry-After` says how long to wait.", ("rate_limited",)),
    "500": ("Something went wrong on our side.", ("internal_error",)),
    "503": ("A service that this needs does not answer; try again.", ("unavailable",)),
}  # fmt: skip
MORE: Final = "x-errors"  # in ``extend_schema(extensions=…)``: what an operation refuses with besides
_EVERY: Final = ("400", "406", "429", "500", "503")
_PROBLEM: Final[Json] = {
    "type": "object",
    "description": "A refusal (RFC 9457). `code` tells the cases of one status apart and does not change; `detail` is for people.",
    "required": ["type", "title", "status", "detail", "code", "errors", "request_id"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer to what is wrong (RFC 6901)"},
                    "detail": {"type": "string"},
                },
            },
        },
        "request_id": {"type": "string"},
        "quota": {
            "type": "object",
            "description": "Of `quota_exceeded`: which limit of one's plan, what is used of it, and when there is room again.",
            "required": ["limit", "used", "allowed", "frees_at"],
            "properties": {
                "limit": {"type": "string"},
                "used": {"type": "string", "format": "decimal"},
                "allowed": {"type": "string", "format": "decimal"},
                "frees_at": {"type": ["string", "null"], "format": "date-time"},
            },
        },
    },
}


def complete(result: Json, generator: Any, request: Any, public: bool) -> Json:  # drf-spectacular's signature
    """Postprocessing hook."""
    parts = result.setdefault("components", {})
    parts.setdefault("schemas", {})["Problem"] = _PROBLEM
    parts["responses"] = {f"Error{status}": _error(status) for status in ERRORS}
    parts["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()}
    _allow_anything(parts["schemas"])
    for path, method, operation in _operations(result):
        _add_errors(path, method, operation)
        _add_conditions(path, method, operation)
        _add_headers(operation)
        _mark_deprecated(path, method, operation)
        if example := BODIES.get(str(operation["operationId"])):
            operation["requestBody"]["content"]["application/json"]["examples"] = {"example": {"value": example}}
    return result


def _allow_anything(part: Any) -> None:
    """drf-spectacular writes a JSON value that may be null as one of *anything* and *null*: then null is both, and so neither."""
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _allow_anything(inner)
    if isinstance(part, dict) and part.get("oneOf") == [{}, {"type": "null"}]:
        del part["oneOf"]


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _error(status: str) -> Json:
    meaning, codes = ERRORS[status]
    example = {
        "type": "about:blank", "title": meaning, "status": int(status), "detail": meaning, "code": codes[0],
        "errors": [{"pointer": "/name", "detail": "This field is required."}] if status == "400" else [],
        "request_id": "0190a1b200007000",
    }  # fmt: skip
    headers = {"WWW-Authenticate": {"schema": {"type": "string"}}} if status == "401" else {}
    if status in ("429", "503"):
        headers["Retry-After"] = {"schema": {"type": "integer"}}
    named = ", ".join(f"`{code}`" for code in codes)
    return {
        "description": f"{meaning} Codes: {named}.",
        "headers": {**headers, **_common_headers()},
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }


def _common_headers() -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}


def _add_errors(path: str, method: str, operation: Json) -> None:
    statuses = set(_EVERY)
    if {} not in operation.get("security", [{}]):
        statuses |= {"401", "403"}
    if "{" in path or any(each["name"] == "packs" for each in operation.get("parameters", [])):
        statuses.add("404")
    statuses |= set(operation.pop(MORE, ()))
    if method != "get":
        statuses.add("409")
    if "requestBody" in operation:
        statuses |= {"413", "415"}
    if method == "post":
        statuses.add("422")
    if method in ("patch", "delete"):
        statuses.add("412")
    responses = operation["responses"]
    for status in sorted(statuses - set(responses)):
        responses[status] = {"$ref": f"#/components/responses/Error{status}"}
    operation["responses"] = dict(sorted(responses.items()))


def _add_conditions(path: str, method: str, operation: Json) -> None:
    parameters = operation.setdefault("parameters", [])
    if method == "get":
        parameters.append(_header("If-None-Match", "Entity tags that the caller has: 304 when one is this answer's"))
        operation["responses"].setdefault("304", {"description": "The caller has it already."})
    elif method == "post":
        parameters.append(_header("Idempotency-Key", "1 to 255 characters: a repetition gets the first answer again"))
    elif method in ("patch", "delete"):
        parameters.append(_header("If-Match", 'The version to be changed, such as `"v3"`: 412 when it is another'))


def _header(name: str, description: str) -> Json:
    return {"in": "header", "name": name, "required": False, "schema": {"type": "string"}, "description": description}


def _add_headers(operation: Json) -> None:
    for response in operation["responses"].values():
        if "$ref" not in response:
            response["headers"] = {**_common_headers(), **response.get("headers", {})}


def _mark_deprecated(path: str, method: str, operation: Json) -> None:
    for one in _deprecated(path):
        if one.method not in ("", method.upper()):
            continue
        named = [each for each in operation["parameters"] if each["name"] == one.parameter]
        for marked in named if one.parameter else [operation]:
            marked["deprecated"] = True
            marked["description"] = f"Until {one.sunset}. {one.instead}"


def _deprecated(path: str) -> Iterator[Deprecated]:
    """By the table's routes, whose placeholders are written ``<str:pk>`` where the document has ``{id}``."""
    shape = [part if "{" not in part else "{}" for part in path.strip("/").split("/")]
    for route, things in TABLE.items():
        if ["{}" if "<" in part else part for part in route.split("/")] == shape:
            yield from things
