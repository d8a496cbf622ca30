"""Errors of the knowledge app.

Duplicate          the pack has an entry of the very same title and content; ``errors`` names it
EmbeddingError     the model or its server gave no vectors; ``permanent`` says whether trying again can help, ``about_text`` whether
                   one of several texts may be at fault, so that the others are worth a try without it
TooLarge           an upload is larger than the settings allow
"""

from __future__ import annotations

from uuid import UUID

from realtime.errors import Conflict, FieldError, InvalidInput, Unavailable


class TooLarge(InvalidInput):
    code = "too_large"


class EmbeddingError(Unavailable):
    code = "embedding_unavailable"

    def __init__(self, detail: str = "", *, permanent: bool = False, about_text: bool | None = None) -> None:
        super().__init__(detail)
        self.permanent = permanent
        self.about_text = permanent if about_text is None else about_text


class TwinError(FieldError):
    """A field error that names the twin."""

    id: str
    title: str


class Duplicate(Conflict):
    code = "duplicate"

    def __init__(self, twin: UUID, title: str, pointer: str = "") -> None:
        super().__init__(f"The pack has an entry of the same title and content: {title} ({twin}).")
        self.errors: list[FieldError] = [TwinError(pointer=pointer, detail=self.detail, id=str(twin), title=title)]
