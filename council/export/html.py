"""Minutes as one HTML file to print: no script, nothing loaded, no link out.

Django's templates escape whatever is put into them. Beside that the page carries a policy of its own (``policy``), in a header and
in the file, by which a browser would run nothing even if something slipped through: all is refused but the one style sheet, named by
its hash. The text is cleaned of what a reader cannot see, so that it cannot reorder what stands around it.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any, Final

from django.template.loader import render_to_string

from council.deliberation.prompts import visible

Json = dict[str, Any]
STYLE: Final = "export/council.css"


def render(minutes: Json) -> str:
    context = {"minutes": _visible(minutes), "style": style(), "policy": policy()}
    return render_to_string("export/council.html", context)


@cache
def style() -> str:
    """As it stands between the tags: the hash is of exactly that."""
    return render_to_string(STYLE).strip()


@cache
def policy() -> str:
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {key: _visible(one) for key, one in value.items()}
    return [_visible(one) for one in value] if isinstance(value, list) else value
