"""What is done to many entries at once: actions of the list, and the page that shows how far one is.

Every action is an ``Order`` for ``services.bulk_jobs``: a few entries within the request, more by a worker. Actions that need to know
more, or that take something away, ask first.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.models import User
from knowledge.admin.common import TagsField, counted, done, signed_in
from knowledge.models import Entry, KnowledgePack
from knowledge.services import bulk_jobs
from knowledge.services.bulk import Action
from knowledge.services.bulk_jobs import Order
from knowledge.states import IndexStatus, PackStatus
from realtime.errors import NotFound, QuorumError

CHANGE, DELETE = "knowledge.change_entry", "knowledge.delete_entry"
SHOWN = 12  # titles on the page that asks
TRASH = "trash"  # the parameter of the list that shows the trash


class ConfirmForm(forms.Form):
    """Nothing to fill in."""


class TagForm(forms.Form):
    add = TagsField(label="Tags to add", widget=UnfoldAdminTextInputWidget)
    remove = TagsField(label="Tags to remove", widget=UnfoldAdminTextInputWidget)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors and not cleaned["add"] and not cleaned["remove"]:
            raise forms.ValidationError("Name at least one tag to add or to remove.")
        return cleaned


class MoveForm(forms.Form):
    to = forms.ModelChoiceField(
        label="Pack to move to",
        queryset=KnowledgePack.objects.filter(status__in=[PackStatus.DRAFT, PackStatus.ACTIVE]).order_by("name"),
        widget=UnfoldAdminSelectWidget,
    )


class BulkActions:
    """Mixed into the entries' ``ModelAdmin``."""

    admin_site: Any
    opts: Any
    actions = (
        "enable", "disable", "tag", "move", "mark_reviewed", "retry_indexing", "delete_selected", "restore_selected",
    )  # fmt: skip

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Restoring is for the trash, everything else for the rest."""
        actions = super().get_actions(request)  # type: ignore[misc]  # a mixin
        trash = request.GET.get(TRASH) == "1"
        return {name: action for name, action in actions.items() if (name == "restore_selected") == trash}

    def bulk_urls(self) -> list[URLPattern]:
        """``knowledge_entry_bulk`` shows a bulk action, ``knowledge_entry_bulk_stop`` stops it."""
        view = self.admin_site.admin_view
        return [
            path("bulk/<uuid:job>/", view(self.bulk_view), name="knowledge_entry_bulk"),
            path("bulk/<uuid:job>/stop/", view(require_POST(self.bulk_stop_view)), name="knowledge_entry_bulk_stop"),
        ]

    # --- Actions ---

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        return self._order(request, queryset.filter(enabled=False), Order("Enable", (("enable", ()),), CHANGE))

    @admin.action(description="Disable (hide from searches)", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        return self._order(request, queryset.filter(enabled=True), Order("Disable", (("disable", ()),), CHANGE))

    @admin.action(description="Mark as reviewed", permissions=["change"])
    def mark_reviewed(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        return self._order(request, queryset, Order("Mark as reviewed", (("review", ()),), CHANGE))

    @admin.action(description="Index again (failed entries)", permissions=["change"])
    def retry_indexing(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        failed = queryset.filter(index_status=IndexStatus.FAILED)
        return self._order(request, failed, Order("Index again", (("retry", ()),), CHANGE))

    @admin.action(description="Tag …", permissions=["change"])
    def tag(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        form = TagForm(request.POST if "apply" in request.POST else None)
        if not form.is_valid():
            return self._ask(request, queryset, "tag", "Tag entries", "Change the tags", form)
        add, remove = tuple(form.cleaned_data["add"]), tuple(form.cleaned_data["remove"])
        wanted: tuple[tuple[Action, tuple[str, ...]], ...] = (("untag", remove), ("tag", add))
        return self._order(
            request, queryset, Order("Tag", tuple((action, tags) for action, tags in wanted if tags), CHANGE)
        )

    @admin.action(description="Move to another pack …", permissions=["change"])
    def move(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        form = MoveForm(request.POST if "apply" in request.POST else None)
        if not form.is_valid():
            return self._ask(request, queryset, "move", "Move entries to another pack", "Move", form)
        to = form.cleaned_data["to"]
        return self._order(request, queryset.exclude(pack=to), Order(f"Move to {to}", (("move", ()),), CHANGE, to.pk))

    @admin.action(description="Move to the trash …", permissions=["delete"])
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        if not request.POST.keys() & {"apply", "post"}:
            return self._ask(
                request, queryset, "delete_selected", "Move entries to the trash", "Move to the trash", ConfirmForm()
            )
        return self._order(request, queryset, Order("Move to the trash", (("delete", ()),), DELETE))

    @admin.action(description="Restore from the trash", permissions=["delete"])
    def restore_selected(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        return self._order(request, queryset, Order("Restore from the trash", (("restore", ()),), DELETE))

    def _order(self, request: HttpRequest, entries: QuerySet[Entry], order: Order) -> HttpResponse | None:
        """Do it now, or send the person to the page that shows how a worker does it."""
        ids = list(entries.order_by("pk").values_list("pk", flat=True))
        try:
            if len(ids) > bulk_jobs.AT_ONCE:
                job = bulk_jobs.start(order, signed_in(request), ids)
                return redirect(reverse("admin:knowledge_entry_bulk", args=[job]))
            outcome = bulk_jobs.carry_out(order, signed_in(request), ids)
        except QuorumError as error:
            messages.error(request, error.detail)
            return None
        unchanged = f", {outcome.unchanged} left as they were" if outcome.unchanged else ""
        done(request, f"{order.title}: {counted(outcome.changed, 'entry', 'entries')}{unchanged}.", outcome.refused)
        return None

    def _ask(
        self, request: HttpRequest, entries: QuerySet[Entry], name: str, title: str, button: str, form: forms.Form
    ) -> HttpResponse:
        count = entries.count()
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "action": name,
            "button": button,
            "danger": name == "delete_selected",
            "form": form,
            "entries": entries[:SHOWN],
            "count": count,
            "more": max(count - SHOWN, 0),
            "checkbox": ACTION_CHECKBOX_NAME,
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "all": request.POST.get("select_across", "0"),
            "back": request.get_full_path(),
        }
        return TemplateResponse(request, "admin/knowledge/ask.html", context)

    # --- The page of a bulk action that a worker carries out ---

    def bulk_view(self, request: HttpRequest, job: UUID) -> HttpResponse:
        self._permit(request, "view")
        context: dict[str, Any] = {"title": "Bulk action", "opts": self.opts}
        try:
            seen = bulk_jobs.progress(job)
            bulk_jobs.wake(seen)
        except NotFound as error:
            raise Http404(error.detail) from error
        except QuorumError as error:
            context["problem"] = error.detail
        else:
            context |= {"job": seen, "author": User.objects.filter(pk=seen.author).first(), "title": seen.order.title}
        context["may_stop"] = request.user.has_perm(CHANGE)
        return TemplateResponse(
            request, "admin/knowledge/bulk.html", {**self.admin_site.each_context(request), **context}
        )

    def bulk_stop_view(self, request: HttpRequest, job: UUID) -> HttpResponse:
        self._permit(request, "change")
        try:
            bulk_jobs.stop(job)
        except NotFound as error:
            raise Http404(error.detail) from error
        except QuorumError as error:
            messages.error(request, error.detail)
        return redirect(reverse("admin:knowledge_entry_bulk", args=[job]))

    def _permit(self, request: HttpRequest, wanted: str) -> None:
        if not request.user.has_perm(f"knowledge.{wanted}_entry"):
            raise PermissionDenied
