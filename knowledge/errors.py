"""Errors of the knowledge app.

EmbeddingError     the model or its server gave no vectors; ``permanent`` says whether trying again can help, ``about_text`` whether
                   one of several texts may be at fault, so that the others are worth a try without it
"""

from __future__ import annotations

from realtime.errors import Unavailable


class EmbeddingError(Unavailable):
    code = "embedding_unavailable"

    def __init__(self, detail: str = "", *, permanent: bool = False, about_text: bool | None = None) -> None:
        super().__init__(detail)
        self.permanent = permanent
        self.about_text = permanent if about_text is None else about_text
