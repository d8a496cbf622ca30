"""What the knowledge app's admin pages share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from accounts.models import User
from knowledge.drafts import TAGS_MAX
from knowledge.models import TAG_MAX, Entry, KnowledgePack
from knowledge.states import PackStatus
from realtime.errors import InvalidInput, QuorumError

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


def explain(form: forms.BaseForm, error: QuorumError, fields: Mapping[str, str] | None = None) -> None:
    """Put what a service refused beside the field that it is about, or, where it is about none, above the form. ``fields`` maps
    codes of errors to fields."""
    pointed = error.errors if isinstance(error, InvalidInput) else []
    for wrong in pointed:
        name = wrong["pointer"].strip("/").partition("/")[0]
        form.add_error(name if name in form.fields else None, wrong["detail"])
    if not pointed:
        name = (fields or {}).get(error.code, "")
        form.add_error(name if name in form.fields else None, error.detail)


class ServiceErrors:
    """For a ``ModelAdmin`` whose ``save_model`` calls a service: what that refuses is an error of the form, not of the server.
    ``error_fields`` maps codes of errors to the fields that they belong beside."""

    error_fields: Mapping[str, str] = {}

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        show = super().changeform_view  # type: ignore[misc]  # a mixin
        try:
            with transaction.atomic():
                return cast("HttpResponse", show(request, object_id, form_url, extra_context))
        except QuorumError as error:
            vars(request)["refused"] = error
            return cast("HttpResponse", show(request, object_id, form_url, extra_context))

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)  # type: ignore[misc]  # a mixin
        error = vars(request).get("refused")
        return _refused(form, error, self.error_fields) if error else form


def _refused(form: type[forms.BaseModelForm[Any]], error: QuorumError, fields: Mapping[str, str]) -> type[Any]:
    """The form, which finds itself wrong for what the service has said."""

    class Refused(form):  # type: ignore[valid-type, misc]
        def clean(self) -> Any:
            cleaned = super().clean()
            explain(self, error, fields)
            return cleaned

    return Refused


class TagsField(forms.CharField):
    """Tags separated by commas."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 500, "required": False, "help_text": "Separated by commas", **kwargs})

    def clean(self, value: Any) -> list[str]:
        tags = list(dict.fromkeys(one.strip() for one in super().clean(value).split(",") if one.strip()))
        if any(len(one) > TAG_MAX for one in tags):
            raise forms.ValidationError(f"A tag has at most {TAG_MAX} characters.")
        if len(tags) > TAGS_MAX:
            raise forms.ValidationError(f"At most {TAGS_MAX} tags.")
        return tags


def signed_in(request: HttpRequest) -> User:
    """Whom the admin has let in."""
    return cast("User", request.user)


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


def done(request: HttpRequest, said: str, refused: Iterable[str] = ()) -> None:
    """Say what a bulk action did, and why it left others as they are."""
    for why in dict.fromkeys(refused):
        messages.warning(request, why)
    messages.success(request, said)


def counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


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


def without_pack(request: HttpRequest, columns: Iterable[Any]) -> list[Any]:
    """A list of one pack's rows need not name it in each."""
    return [name for name in columns if name != "pack" or "pack__id__exact" not in request.GET]


def pack_of(obj: Entry | None) -> KnowledgePack | None:
    return obj.pack if obj else None
