"""Published states of packs: the list, publishing, and forgetting one."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

from knowledge import services
from knowledge.admin.common import ServiceErrors, author, become, day, is_open, table
from knowledge.admin.history import SHOWN, OfPack
from knowledge.models import KnowledgePack, Snapshot
from knowledge.states import PackStatus
from realtime.errors import QuorumError

_SHOWN = ("pack", "label", "note", "entry_count", "passage_count", "content_hash", "created_by", "created_at")


class SnapshotForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    class Meta:
        model = Snapshot
        fields = ("pack", "label", "note")
        widgets = {"note": UnfoldAdminTextInputWidget}
        help_texts = {
            "pack": "What its enabled entries say now is kept; all of them must be indexed",
            "label": "Councils pin and search the snapshot by this name, e.g. 2026-11",
            "note": "Why, for those who choose one",
        }

    def _get_validation_exclusions(self) -> set[str]:
        """A label in use is the service's to refuse: Django's constraint would say it above the form, in words of its own."""
        return {*super()._get_validation_exclusions(), "label"}  # type: ignore[misc]  # not in the stubs

    def clean_pack(self) -> KnowledgePack:
        pack: KnowledgePack = self.cleaned_data["pack"]
        if pack.status == PackStatus.DELETED:
            raise forms.ValidationError("This pack is in the trash.")
        return pack


@admin.register(Snapshot)
class SnapshotAdmin(ServiceErrors, OfPack):
    form = SnapshotForm
    tab = "snapshots"
    error_fields = {"label_taken": "label"}
    list_display = ("label", "pack", "entry_count", "passage_count", "said", "created_by", "made")
    list_filter = ("created_at",)
    list_select_related = ("pack", "created_by")
    search_fields = ("label", "pack__name", "note")
    autocomplete_fields = ("pack",)
    ordering = ("-created_at", "-id")
    readonly_fields = (*_SHOWN, "entries_shown")

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("knowledge.add_snapshot")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        of = cast("Snapshot | None", obj)
        return is_open(of.pack if of else None) and request.user.has_perm("knowledge.delete_snapshot")

    def get_fields(self, request: HttpRequest, obj: Snapshot | None = None) -> Any:
        return (*_SHOWN, "entries_shown") if obj else SnapshotForm.Meta.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Snapshot | None = None) -> Any:
        return self.readonly_fields if obj else ()

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any) -> Any:
        """What helps to publish does not help to read."""
        return super().get_form(request, obj, change, **({**kwargs, "help_texts": {}} if obj else kwargs))

    def save_model(self, request: HttpRequest, obj: Snapshot, form: SnapshotForm, change: bool) -> None:
        values = form.cleaned_data
        become(obj, services.publish(values["pack"].pk, author(request), values["label"], values["note"]))

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A snapshot that a council pins stays, and says so."""
        try:
            return cast("HttpResponse", super().delete_view(request, object_id, extra_context))
        except QuorumError as error:
            self.message_user(request, error.detail, "error")
            return redirect(reverse("admin:knowledge_snapshot_change", args=[object_id]))

    def delete_model(self, request: HttpRequest, obj: Snapshot) -> None:
        services.delete_snapshot(obj.pack_id, obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Snapshot]) -> None:
        for snapshot in queryset:
            try:
                self.delete_model(request, snapshot)
            except QuorumError as error:
                self.message_user(request, f"{snapshot}: {error.detail}", "warning")

    def response_add(self, request: HttpRequest, obj: Snapshot, post_url_continue: str | None = None) -> HttpResponse:
        """To the snapshot, among the others of its pack."""
        usual = cast("HttpResponse", super().response_add(request, obj, post_url_continue))
        return redirect(reverse("admin:knowledge_snapshot_change", args=[obj.pk])) if "_save" in request.POST else usual

    @admin.display(description="note", ordering="note")
    def said(self, snapshot: Snapshot) -> str:
        return snapshot.note or "–"

    @admin.display(description="published", ordering="created_at")
    def made(self, snapshot: Snapshot) -> SafeString | str:
        return day(snapshot.created_at)

    @admin.display(description="revisions")
    def entries_shown(self, snapshot: Snapshot) -> SafeString | str:
        rows = snapshot.entries.select_related("revision").order_by("ordinal")[:SHOWN]
        said = [(row.revision.title, row.revision.number, row.revision.content_hash[:12]) for row in rows]
        return table(("title", "revision", "hash"), said)
