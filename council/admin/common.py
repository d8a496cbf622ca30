"""What the council's admin pages share."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

SEALED = "sealed until the round closes"
STATUS_COLOURS = {
    "running": "info",
    "paused": "warning",
    "pending": "warning",
    "completed": "success",
    "ok": "success",
    "stopped": "warning",
    "cancelled": "warning",
    "failed": "danger",
    "error": "danger",
    "lost": "danger",
}


class ReadOnly:
    """Nothing is added, changed or deleted from this page."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def pretty(value: Any) -> SafeString:
    """JSON to read."""
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True))


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> SafeString | str:
    if not rows:
        return "–"
    titles = format_html_join("", "<th>{}</th>", ((title,) for title in head))
    body = format_html_join(
        "", "<tr>{}</tr>", ((format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in rows)
    )
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", titles, body)
