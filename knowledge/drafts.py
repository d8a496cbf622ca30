"""What an entry must look like before it may enter a pack. One definition for the API, the admin, imports and the demo data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from knowledge.models import TAG_MAX, TITLE_MAX, Language
from realtime.errors import FieldError, InvalidInput

CONTENT_MAX: Final = 200_000
TAGS_MAX: Final = 50
METADATA_DEPTH: Final = 5
METADATA_BYTES: Final = 16_384
URL_MAX: Final = 2000
NOTE_MAX: Final = 300


def _storable(text: str) -> str:
    """PostgreSQL's text holds neither NUL nor a lone surrogate."""
    if "\x00" in text:
        raise ValueError("may not contain NUL characters")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("may not contain unpaired surrogate characters")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("may not be blank")
    return _storable(text)


def _trimmed(text: str) -> str:
    return _filled(text).strip()


def _web_address(text: str) -> str:
    text = _storable(text).strip()
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError("is not a URL") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or any(char.isspace() for char in text):
        raise ValueError("must be an http or https URL")
    return text


def _distinct(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


def _bounded(metadata: dict[str, Any]) -> dict[str, Any]:
    for text in _texts(metadata, METADATA_DEPTH):
        _storable(text)
    if len(json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode()) > METADATA_BYTES:
        raise ValueError(f"may have at most {METADATA_BYTES} bytes as JSON")
    return metadata


def _texts(value: Any, depth: int) -> Iterator[str]:
    """Every string in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        if depth == 0:
            raise ValueError(f"may be nested at most {METADATA_DEPTH} levels deep")
        for item in [*value.keys(), *value.values()] if isinstance(value, Mapping) else value:
            yield from _texts(item, depth - 1)


def _day(value: object) -> object:
    """A date as JSON has it."""
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise ValueError("must be a date such as 2027-01-31") from error


def _language(text: str) -> str:
    if text and text not in Language.values:
        raise ValueError(f"is empty (the pack's) or one of {', '.join(Language.values)}")
    return text


Tag = Annotated[str, Field(min_length=1, max_length=TAG_MAX), AfterValidator(_trimmed)]
Tags = Annotated[list[Tag], Field(max_length=TAGS_MAX), AfterValidator(_distinct)]
Title = Annotated[str, Field(min_length=1, max_length=TITLE_MAX), AfterValidator(_trimmed)]
Content = Annotated[str, Field(min_length=1, max_length=CONTENT_MAX), AfterValidator(_filled)]
Note = Annotated[str, Field(max_length=NOTE_MAX), AfterValidator(_storable)]


class EntryDraft(BaseModel):
    """An entry as a person or a program submits it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    title: Title
    content: Content
    tags: Tags = []
    metadata: Annotated[dict[str, Any], AfterValidator(_bounded)] = {}
    source_url: Annotated[str, Field(max_length=URL_MAX), AfterValidator(_web_address)] | None = None
    external_id: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_trimmed)] | None = None

    @property
    def content_hash(self) -> str:
        return content_hash(self.title, self.content)


class EntryPatch(EntryDraft):
    """A change of an entry: any of these fields. What is not named stays, so the defaults here mean nothing."""

    title: Title = ""
    content: Content = ""
    enabled: bool = True
    language: Annotated[str, AfterValidator(_language)] = ""
    reviewed: bool = False
    review_by: Annotated[date | None, BeforeValidator(_day)] = None
    note: Note = ""

    def named(self) -> dict[str, Any]:
        """The fields that were sent."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


def content_hash(title: str, content: str) -> str:
    """SHA-256 of title and content: equal hashes need no new revision. The title cannot hold the NUL that parts them."""
    return hashlib.sha256(f"{title}\x00{content}".encode()).hexdigest()


_Model = TypeVar("_Model", bound=BaseModel)


def parse(item: object, pointer: str = "") -> EntryDraft:
    """``item`` as a draft, or ``InvalidInput`` with a pointer for each wrong, missing or unknown field."""
    return checked(EntryDraft, item, pointer)


def checked(model: type[_Model], item: object, pointer: str = "") -> _Model:
    """As ``parse``, for any model of a body."""
    try:
        return model.model_validate(item)
    except ValidationError as error:
        found = [_field_error(detail, pointer) for detail in error.errors(include_url=False)]
        raise InvalidInput("the entry has wrong fields", errors=found) from error


def _field_error(detail: Mapping[str, Any], pointer: str) -> FieldError:
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in detail["loc"])
    message = str(detail["msg"]).removeprefix("Value error, ")
    return {"pointer": "/".join([pointer, *steps]), "detail": message}
