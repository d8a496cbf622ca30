"""Query parameters, read and refused in one way."""

from __future__ import annotations

from collections.abc import Sequence

from rest_framework.request import Request

from realtime.errors import InvalidInput

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def choice(request: Request, name: str, allowed: Sequence[str]) -> str | None:
    value = request.query_params.get(name)
    if value is not None and value not in allowed:
        raise bad(name, f"{name} is one of {', '.join(allowed)}.")
    return value


def number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not 1 <= int(text) <= most:
        raise bad(name, f"{name} is a whole number from 1 to {most}.")
    return int(text)


def bad(parameter: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, code=f"bad_{parameter}", errors=[{"pointer": f"/{parameter}", "detail": detail}])
