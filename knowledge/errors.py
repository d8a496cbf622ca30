"""Errors of the knowledge app.

TooLarge           an upload is larger than the settings allow
EmbeddingError     the model or its server gave no vectors; ``permanent`` says whether trying again can help
"""

from __future__ import annotations

from realtime.errors import InvalidInput, Unavailable


class TooLarge(InvalidInput):
    code = "too_large"


class EmbeddingError(Unavailable):
    code = "embedding_unavailable"

    def __init__(self, detail: str = "", *, permanent: bool = False) -> None:
        super().__init__(detail)
        self.permanent = permanent
