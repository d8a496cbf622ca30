"""JSON pointers (RFC 6901) into a request body, and DRF's nested errors flattened to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rest_framework.settings import api_settings

from realtime.errors import FieldError


def pointer(parent: str, step: str | int) -> str:
    """``parent`` extended by one key or index; ``~`` and ``/`` are escaped (RFC 6901, section 3)."""
    return f"{parent}/{str(step).replace('~', '~0').replace('/', '~1')}"


def field_errors(detail: Any, parent: str = "") -> Iterator[FieldError]:
    """Every message of a DRF ``ValidationError.detail``: dicts by field or index, lists of messages or of such dicts."""
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            here = parent if key == api_settings.NON_FIELD_ERRORS_KEY else pointer(parent, key)
            yield from field_errors(value, here)
    elif isinstance(detail, list):
        for index, value in enumerate(detail):
            yield from field_errors(value, pointer(parent, index) if isinstance(value, Mapping | list) else parent)
    else:
        yield {"pointer": parent, "detail": str(detail)}
