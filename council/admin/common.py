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


CELL = "px-3 py-2 align-top text-left"  # of unfold's own style sheet


def pretty(value: Any) -> SafeString:
    """JSON to read."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return format_html('<pre class="overflow-x-auto">{}</pre>', text)


def prose(text: str) -> SafeString:
    """Text with its line breaks."""
    return format_html_join("", "{}<br>", ((line,) for line in text.splitlines()))


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> SafeString | str:
    if not rows:
        return "–"
    titles = format_html_join("", '<th class="{} font-semibold">{}</th>', ((CELL, title) for title in head))
    body = format_html_join("", "<tr>{}</tr>", ((_cells(row),) for row in rows))
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", titles, body)


def _cells(row: tuple[Any, ...]) -> SafeString:
    return format_html_join("", '<td class="{}">{}</td>', ((CELL, cell) for cell in row))
