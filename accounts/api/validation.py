"""Shape checks of request bodies: DRF serializers, strict about fields they do not know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rest_framework import serializers

from accounts.api.pointers import field_errors, pointer
from realtime.errors import FieldError, InvalidInput

MAX_ERRORS = 100  # an array body of thousands of wrong items needs no answer of megabytes


def validate(serializer: serializers.BaseSerializer[Any], data: Any) -> Any:
    """The validated data, or ``InvalidInput`` with a pointer for every wrong, missing or unknown field."""
    errors: list[FieldError] = []
    if not serializer.is_valid():
        errors += field_errors(serializer.errors)
    errors += unknown_fields(serializer, data)
    if errors:
        detail = "The body has a wrong field." if len(errors) == 1 else f"The body has {len(errors)} wrong fields."
        raise InvalidInput(detail, errors=errors[:MAX_ERRORS])
    return serializer.validated_data


def unknown_fields(field: Any, data: Any, where: str = "") -> Iterator[FieldError]:
    """Keys that no writable field of the serializer (or of those nested in it) takes: silence would hide a typing error."""
    if isinstance(field, serializers.ListSerializer) and isinstance(data, list):
        for index, item in enumerate(data):
            yield from unknown_fields(field.child, item, pointer(where, index))
    elif isinstance(field, serializers.Serializer) and isinstance(data, dict):
        writable = {name: child for name, child in field.fields.items() if not child.read_only}
        for key, value in data.items():
            here = pointer(where, key)
            if key in writable:
                yield from unknown_fields(writable[key], value, here)
            else:
                yield {"pointer": here, "detail": "Unknown field."}
