"""JSON bodies as RFC 8259 and PostgreSQL allow them, and nothing else.

Python's decoder also takes NaN, numbers that overflow to infinity, repeated keys and unpaired surrogates. Each of them
would fail later (or, worse, be stored half-read), so they are refused here, where the answer can still be a plain 400.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import IO, Any, NoReturn

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.utils.http import parse_header_parameters
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from accounts.api.pointers import pointer
from realtime.errors import InvalidInput

MAX_DEPTH = 32
_SUSPECT_ESCAPE = re.compile(r"\\u(0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL's text holds neither NUL nor a lone surrogate


class StrictJSONParser(BaseParser):
    """400 for anything that is not strict JSON, 413 above ``DATA_UPLOAD_MAX_MEMORY_SIZE``, 415 for another charset."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        _, parameters = parse_header_parameters(media_type or "")
        if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            raise UnsupportedMediaType(media_type or "", "JSON is sent as UTF-8.")
        return strict_json(_read(stream))


def strict_json(raw: bytes) -> Any:
    """The value of a JSON text; ``InvalidInput`` (code ``malformed_json``) says what is wrong with it, and where."""
    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer
        )
    except UnicodeDecodeError as error:
        raise _malformed(f"Not UTF-8: byte {error.start} is invalid.") from error
    except json.JSONDecodeError as error:
        raise _malformed(f"Not JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from error
    except RecursionError as error:
        raise _too_deep() from error
    _check_depth(value)
    if _SUSPECT_ESCAPE.search(text):
        _check_characters(value)
    return value


def _read(stream: IO[Any]) -> bytes:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    raw = bytes(stream.read(limit + 1))
    if len(raw) > limit:
        raise RequestDataTooBig(f"A body may have at most {limit} bytes.")
    return raw


def _malformed(detail: str, where: str = "") -> InvalidInput:
    return InvalidInput(detail, code="malformed_json", errors=[{"pointer": where, "detail": detail}])


def _too_deep() -> InvalidInput:
    return _malformed(f"Nested deeper than {MAX_DEPTH} levels.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        repeated, _ = Counter(name for name, _ in pairs).most_common(1)[
            0
        ]  # in one pass: a body holds half a million keys
        raise _malformed(f"The key {repeated!a} occurs more than once in one object.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is not JSON.")


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise _malformed("A number is too large.")
    return number


def _integer(literal: str) -> int:
    # 19 digits and a sign hold every bigint; Python itself would take up to 4,300 digits and then raise ValueError.
    if len(literal) > 20:
        raise _malformed("A whole number has more than 20 digits.")
    return int(literal)


def _children(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for _, child in _children(item) if isinstance(child, dict | list)]
        if not level:
            return
    raise _too_deep()


def _check_characters(value: Any, where: str = "") -> None:
    if isinstance(value, str) and _UNSTORABLE.search(value):
        raise _malformed("Text may not contain NUL or unpaired surrogate characters.", where)
    for step, child in _children(value):
        here = pointer(where, step if isinstance(step, int) else step.encode("utf-8", "replace").decode())
        if isinstance(step, str) and _UNSTORABLE.search(step):
            raise _malformed("A key may not contain NUL or unpaired surrogate characters.", here)
        _check_characters(child, here)
