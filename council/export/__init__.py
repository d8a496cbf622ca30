"""A whole council as a file: minutes to read (Markdown), a complete record (JSON), minutes to print (HTML).

Everything in a council was written by people, packs and models, and is text to the reader of the file and nothing else: see
``markdown`` and ``html`` for how it is kept from becoming markup. Ballots of an open round are in none of them, for all begin with
``record``, which takes them from ``selectors.session_snapshot``.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from django.core.serializers.json import DjangoJSONEncoder

from accounts import audit
from council.export import html, markdown
from council.export.minutes import minutes
from council.export.record import record
from council.models import CouncilSession

MEDIA_TYPES: Final = {
    "md": "text/markdown; charset=utf-8",
    "json": "application/json",
    "html": "text/html; charset=utf-8",
}


class Export(NamedTuple):
    content: bytes
    media_type: str
    filename: str


def export(session: CouncilSession, form: str, *, prompts: bool = False) -> Export:
    """``form`` is one of ``MEDIA_TYPES``; ``prompts`` adds every call of a model to the JSON record."""
    audit.record("council.exported", session, format=form, prompts=prompts)
    whole = record(session, prompts=prompts)
    if form == "json":
        text = json.dumps(whole, cls=DjangoJSONEncoder, ensure_ascii=False, indent=2) + "\n"
    else:
        text = (markdown if form == "md" else html).render(minutes(whole))
    return Export(text.encode(), MEDIA_TYPES[form], f"council-{session.pk}.{form}")
