"""Entries: the list and the editor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from knowledge import drafts, services
from knowledge.admin.bulk import TRASH, BulkActions
from knowledge.admin.common import (
    ServiceErrors,
    TrashingAdmin,
    author,
    become,
    day,
    editable,
    explain,
    is_open,
    pack_of,
    without_pack,
)
from knowledge.admin.pages import open_pack, pack_chosen, pack_context
from knowledge.admin.revisions import Revisions
from knowledge.models import Entry, KnowledgePack, Language
from knowledge.selectors import twin_of
from realtime.errors import Conflict, InvalidInput

_DRAFT_FIELDS = tuple(drafts.EntryDraft.model_fields)
_CURATED = ("language", "enabled", "review_by")  # what can be set once the entry is there


class EntryForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """An entry with the content of its current revision, checked as the API checks it."""

    content = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 18}), max_length=drafts.CONTENT_MAX, strip=False
    )
    note = forms.CharField(
        max_length=300, required=False, help_text="Why, for the history of revisions", widget=UnfoldAdminTextInputWidget
    )

    seen_version = forms.IntegerField(required=False, widget=forms.HiddenInput)  # what the person saw when they began

    class Meta:
        model = Entry
        fields = ("pack", "title", "tags", "metadata", "source_url", "external_id", "language", "enabled", "review_by")
        widgets = {"tags": UnfoldAdminTextInputWidget, "metadata": UnfoldAdminTextareaWidget(attrs={"rows": 2})}
        labels = {"source_url": "Source address", "external_id": "External id"}
        help_texts = {
            "tags": "Separated by commas",
            "metadata": "A JSON object; searches can filter by its fields",
            "external_id": "The entry's name in your own system; imports that name it revise this entry",
            "language": "Of the words of this entry",
            "enabled": "Disabled entries stay, but no search finds them",
            "review_by": "When somebody should look at it again",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "language" in self.fields:
            language = cast("forms.ChoiceField", self.fields["language"])
            language.choices = [("", "The pack's"), *Language.choices]
        if not self.instance._state.adding:
            self.fields["content"].initial = self.instance.revision.content
            self.fields["seen_version"].initial = self.instance.version

    def draft(self) -> dict[str, Any]:
        """The fields of ``drafts.EntryDraft``; what is left blank is absent."""
        values = {name: self.cleaned_data.get(name) for name in _DRAFT_FIELDS}
        return {**values, "source_url": values["source_url"] or None, "external_id": values["external_id"] or None}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                drafts.parse(self.draft())
            except InvalidInput as error:
                explain(self, error)
        pack = cleaned.get("pack") or (None if self.instance._state.adding else self.instance.pack)
        if pack is not None and not self.errors:
            self._check_pack(pack)
        return cleaned

    def _check_pack(self, pack: KnowledgePack) -> None:
        if not editable(pack):
            self.add_error(None, f"The pack is {pack.status}: its entries cannot be changed.")
        external_id = self.cleaned_data.get("external_id")
        others = Entry.objects.filter(pack=pack, external_id=external_id or None, deleted_at=None)
        if external_id and others.exclude(pk=self.instance.pk).exists():
            self.add_error("external_id", "Another entry of the pack has this external id.")
        content_hash = drafts.parse(self.draft()).content_hash
        twin = twin_of(pack, content_hash)
        if twin and content_hash != self.instance.content_hash:
            self.add_error("content", f"The pack says this already: {twin.title}.")


def _unchanged(seen: int | None) -> Callable[[int], None]:
    """Refuses to overwrite what somebody else has saved since the form was opened."""

    def check(version: int) -> None:
        if seen is not None and version != seen:
            raise Conflict("Somebody else has changed this entry since you opened it. Open it again in another tab.")

    return check


class ReviewFilter(admin.SimpleListFilter):
    title = "review"
    parameter_name = "review"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("overdue", "Overdue"), ("never", "Never reviewed"), ("done", "Reviewed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Entry]) -> QuerySet[Entry]:
        conditions = {
            "overdue": Q(review_by__lte=timezone.now().date()),
            "never": Q(reviewed_at=None),
            "done": Q(reviewed_at__isnull=False),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


class TrashFilter(admin.SimpleListFilter):
    """``get_queryset`` does it: pages of one entry must not find what is in the trash."""

    title = "trash"
    parameter_name = TRASH

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "In the trash")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Entry]) -> QuerySet[Entry]:
        return queryset


class UseFilter(admin.SimpleListFilter):
    title = "use"
    parameter_name = "use"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("cited", "Cited"), ("unseen", "Never retrieved")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Entry]) -> QuerySet[Entry]:
        if self.value() == "cited":
            return queryset.filter(use__cited__gt=0)
        if self.value() == "unseen":
            return queryset.filter(Q(use=None) | Q(use__retrieved=0))
        return queryset


@admin.register(Entry)
class EntryAdmin(BulkActions, Revisions, ServiceErrors, TrashingAdmin):
    form = EntryForm
    error_fields = {"external_id_taken": "external_id", "duplicate": "content"}
    list_display = ("title", "pack", "state", "enabled", "tag_list", "times_cited", "number", "edited")
    list_before_template = "admin/knowledge/_tabs.html"
    change_form_outer_before_template = "admin/knowledge/_tabs.html"
    fieldsets = (
        (None, {"fields": ("pack", "title", "content", "note", "seen_version")}),
        ("History", {"fields": ("revisions_shown",)}),
        ("Details", {"fields": ("tags", "metadata", "source_url", "external_id", "language", "enabled")}),
        ("Review", {"fields": ("reviewed_at", "review_by")}),
        ("Record", {"fields": ("state", "created_at", "updated_at", "id")}),
    )
    list_filter = ("index_status", "enabled", ReviewFilter, UseFilter, TrashFilter, "pack__status", "created_at")
    list_select_related = ("pack", "use")
    list_per_page = 50
    search_fields = ("title", "external_id", "pack__name")
    autocomplete_fields = ("pack",)
    ordering = ("-created_at",)
    readonly_fields = ("id", "state", "created_at", "updated_at", "reviewed_at", "revisions_shown")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        """Without the trash, but for the list that shows it."""
        entries = cast("QuerySet[Entry]", super().get_queryset(request))
        return entries.filter(deleted_at__isnull=request.GET.get(TRASH) != "1")

    def get_urls(self) -> list[URLPattern]:
        return [*self.bulk_urls(), *self.revision_urls(), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the tabs of its pack, when the list is of one pack."""
        pack = open_pack(request.GET.get("pack__id__exact", ""))
        extra = {**(extra_context or {}), **(pack_context(request, pack, "entries") if pack else {})}
        return cast("HttpResponse", super().changelist_view(request, extra))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        entry = self.get_object(request, object_id)
        extra = {
            **(extra_context or {}),
            **(pack_context(request, entry.pack, "entries") if entry and is_open(entry.pack) else {}),
        }
        return cast("HttpResponse", super().change_view(request, object_id, form_url, extra))

    def get_fieldsets(self, request: HttpRequest, obj: Entry | None = None) -> Any:
        """A new entry has neither a history nor a state."""
        if obj:
            return super().get_fieldsets(request, obj)
        return (
            (None, {"fields": ("pack", "title", "content", "note")}),
            ("Details", {"fields": ("tags", "metadata", "source_url", "external_id")}),
        )

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().get_changeform_initial_data(request), "pack": pack_chosen(request)}

    def get_list_display(self, request: HttpRequest) -> list[str]:
        return without_pack(request, super().get_list_display(request))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "pack__id__exact" or super().lookup_allowed(lookup, value, request)

    def get_readonly_fields(self, request: HttpRequest, obj: Entry | None = None) -> tuple[str, ...]:
        fixed = tuple(str(name) for name in self.readonly_fields)
        return (*fixed, "pack") if obj else fixed

    def has_change_permission(self, request: HttpRequest, obj: Entry | None = None) -> bool:
        return editable(pack_of(obj)) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Entry | None = None) -> bool:
        return editable(pack_of(obj)) and super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Entry, form: EntryForm, change: bool) -> None:  # Django's signature
        note = form.cleaned_data["note"]
        if not change:
            (result,) = services.add_entries(obj.pack, author(request), [form.draft()], note)
            become(obj, result.entry or result.twin)  # a twin that came since the form's check is what was meant
            return
        values = {**form.draft(), **{name: form.cleaned_data[name] for name in _CURATED}}
        seen = form.cleaned_data["seen_version"]
        become(obj, services.revise_entry(obj.pk, author(request), values, note, precondition=_unchanged(seen)))

    def delete_model(self, request: HttpRequest, obj: Entry) -> None:
        services.delete_entry(obj.pk)

    # --- Columns ---

    @admin.display(description="content")
    def content(self, entry: Entry) -> str:
        """For those who may only look: the form, which has the words otherwise, is not shown then."""
        return entry.revision.content

    @display(description="status", ordering="index_status")
    def state(self, entry: Entry) -> SafeString | str:
        """With the error, where there is one."""
        label = format_html('<span class="q-tag q-{0}">{0}</span>', entry.index_status)
        if not entry.index_error:
            return label
        return format_html(
            '{} <span class="q-bad" title="{}">{}</span>', label, entry.index_error, entry.index_error[:60]
        )

    @admin.display(description="rev.", ordering="revision_number")
    def number(self, entry: Entry) -> int:
        return entry.revision_number

    @admin.display(description="edited", ordering="updated_at")
    def edited(self, entry: Entry) -> SafeString | str:
        return day(entry.updated_at)

    @admin.display(description="tags")
    def tag_list(self, entry: Entry) -> str:
        return ", ".join(entry.tags) or "–"

    @admin.display(description="cited", ordering="use__cited")
    def times_cited(self, entry: Entry) -> int:
        return entry.use.cited if hasattr(entry, "use") else 0
