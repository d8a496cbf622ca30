"""What the knowledge app's admin pages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from accounts.models import User
from knowledge.models import Entry, KnowledgePack
from knowledge.states import PackStatus

STATUS_COLOURS = {
    "draft": "info",
    "active": "success",
    "archived": "warning",
    "deleted": "danger",
    "pending": "warning",
    "indexing": "info",
    "ready": "success",
    "failed": "danger",
    "queued": "warning",
    "reading": "info",
    "planned": "info",
    "writing": "info",
    "completed": "success",
    "cancelled": "warning",
    "created": "success",
    "updated": "success",
    "unchanged": "info",
    "skipped": "warning",
    "future": "info",
    "present": "success",
    "past": "warning",
}


class ReadOnly:
    """Nothing is added, changed or deleted from this page."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class TrashingAdmin(ModelAdmin):
    """Deleting here means a service that hides rows; nothing else goes with them, so there is nothing else to list or to permit.
    What may not be deleted itself is named, and then nothing of the selection is: else the page would say that it was."""

    def get_deleted_objects(
        self, objs: Sequence[Any], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        kept = [str(item) for item in objs if not self.has_delete_permission(request, item)]
        return [str(item) for item in objs], {str(self.opts.verbose_name_plural): len(objs)}, set(), kept


def author(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None


def editable(pack: KnowledgePack | None) -> bool:
    """Whether the pack's entries may be changed; None stands for the list as a whole."""
    return pack is None or pack.status not in (PackStatus.ARCHIVED, PackStatus.DELETED)


def is_open(pack: KnowledgePack | None) -> bool:
    """Whether the pack may be changed from here; None stands for the list as a whole."""
    return pack is None or pack.status != PackStatus.DELETED


def become(shown: Model, saved: Model | None) -> None:
    """Give the object that the admin goes on with (history, messages, links) the state of the one that the service saved."""
    if saved is not None:
        shown.__dict__.update(saved.__dict__)


def done(request: HttpRequest, count: int, what: str, refused: Iterable[str] = ()) -> None:
    """Say how many entries a bulk action changed, and why others were left as they are."""
    for why in dict.fromkeys(refused):
        messages.warning(request, why)
    messages.success(request, f"{count} {'entry' if count == 1 else 'entries'} {what}.")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> SafeString | str:
    if not rows:
        return "–"
    titles = format_html_join("", "<th>{}</th>", ((title,) for title in head))
    body = format_html_join("", "<tr>{}</tr>", ((_cells(row),) for row in rows))
    return format_html('<table class="q-table"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>', titles, body)


def _cells(row: Sequence[Any]) -> SafeString:
    return format_html_join("", "<td>{}</td>", ((cell,) for cell in row))


def day(at: datetime | None) -> SafeString | str:
    """The day in a narrow column, the time as its title."""
    if at is None:
        return "–"
    return format_html(
        '<time class="q-nowrap" title="{}" datetime="{}">{}</time>',
        f"{at:%Y-%m-%d %H:%M:%S} UTC",
        at.isoformat(),
        f"{at:%d %b %Y}",
    )


def pack_of(obj: Entry | None) -> KnowledgePack | None:
    return obj.pack if obj else None
