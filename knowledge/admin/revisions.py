"""Revisions of an entry: their list, any two side by side, and the way back to one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.admin import ModelAdmin

from knowledge import services
from knowledge.admin.common import ReadOnly, author, is_open, table
from knowledge.admin.diffs import side_by_side
from knowledge.admin.pages import pack_context
from knowledge.models import Entry, EntryRevision
from realtime.errors import QuorumError

SHOWN = 50


class Revisions:
    """Mixed into the entries' ``ModelAdmin``."""

    admin_site: Any
    opts: Any
    get_queryset: Any
    has_view_permission: Any
    has_change_permission: Any
    log_change: Any

    def revision_urls(self) -> list[URLPattern]:
        """``knowledge_entry_revisions`` compares two, ``knowledge_entry_revert`` goes back to one."""
        view = self.admin_site.admin_view
        return [
            path("<uuid:pk>/revisions/", view(self.diff_view), name="knowledge_entry_revisions"),
            path(
                "<uuid:pk>/revisions/<int:number>/revert/",
                view(require_POST(self.revert_view)),
                name="knowledge_entry_revert",
            ),
        ]

    @admin.display(description="Revisions")
    def revisions_shown(self, entry: Entry) -> SafeString | str:
        if entry._state.adding:
            return "–"
        revisions = entry.revisions.select_related("author").order_by("-number")[:SHOWN]
        rows = [
            (one.number, f"{one.created_at:%Y-%m-%d %H:%M}", one.author or "–", one.note or "–", _diff_link(one))
            for one in revisions
        ]
        return table(("", "when (UTC)", "by", "note", ""), rows)

    def diff_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        entry = self.get_queryset(request).select_related("pack").filter(pk=pk).first()
        if entry is None or not self.has_view_permission(request, entry):
            raise Http404("There is no such entry.")
        revisions = list(entry.revisions.select_related("author").defer("content").order_by("-number"))
        old, new = self._chosen(request, entry, [one.number for one in revisions])
        context = {
            **self.admin_site.each_context(request),
            **(pack_context(request, entry.pack, "entries") if is_open(entry.pack) else {}),
            "title": entry.title,
            "subtitle": "Revisions",
            "opts": self.opts,
            "entry": entry,
            "original": entry,
            "revisions": revisions,
            "old": old,
            "new": new,
            "may_revert": old.number != entry.revision_number and self.has_change_permission(request, entry),
            "rows": side_by_side(f"{old.title}\n\n{old.content}", f"{new.title}\n\n{new.content}"),
        }
        return TemplateResponse(request, "admin/knowledge/revisions.html", context)

    def _chosen(self, request: HttpRequest, entry: Entry, numbers: list[int]) -> tuple[EntryRevision, EntryRevision]:
        """The revisions that ``from`` and ``to`` name; where they name none, the latest and the one before it."""
        wanted = [
            value for value in map(request.GET.get, ("from", "to")) if value and value.isascii() and value.isdigit()
        ]
        chosen = [int(value) for value in wanted if len(value) < 9 and int(value) in numbers]
        if len(chosen) != 2:
            chosen = [numbers[min(1, len(numbers) - 1)], numbers[0]]
        found = {one.number: one for one in entry.revisions.select_related("author").filter(number__in=chosen)}
        return found[chosen[0]], found[chosen[1]]

    def revert_view(self, request: HttpRequest, pk: UUID, number: int) -> HttpResponse:
        entry = self.get_queryset(request).select_related("pack").filter(pk=pk).first()
        if entry is None:
            raise Http404("There is no such entry.")
        if not self.has_change_permission(request, entry):
            raise PermissionDenied
        try:
            services.revert_entry(entry.pk, number, author(request))
        except QuorumError as error:
            messages.error(request, error.detail)
        else:
            self.log_change(request, entry, f"Went back to revision {number}.")
            messages.success(request, f"The entry says again what revision {number} said.")
        return redirect(reverse("admin:knowledge_entry_change", args=[entry.pk]))


def _diff_link(revision: EntryRevision) -> SafeString | str:
    if revision.number == 1:
        return "first"
    page = reverse("admin:knowledge_entry_revisions", args=[revision.entry_id])
    compared = f"{page}?from={revision.number - 1}&to={revision.number}"
    return format_html('<a class="q-link" href="{}">what changed</a>', compared)


@admin.register(EntryRevision)
class EntryRevisionAdmin(ReadOnly, ModelAdmin):
    """History, to be read: the database itself refuses changes."""

    list_display = ("title", "number", "entry", "author", "note", "created_at")
    list_select_related = ("entry", "author")
    search_fields = ("title", "entry__id")
    ordering = ("-created_at",)
