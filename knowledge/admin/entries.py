"""Entries: their words, their revisions, and what is done to many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from knowledge import drafts, services
from knowledge.admin.common import ReadOnly, TrashingAdmin, author, become, day, done, editable, is_open, pack_of, table
from knowledge.admin.diffs import side_by_side
from knowledge.admin.pages import open_pack, pack_context
from knowledge.models import TAG_MAX, Entry, EntryRevision, KnowledgePack
from knowledge.selectors import twin_of
from knowledge.states import IndexStatus, PackStatus
from realtime.errors import InvalidInput, QuorumError

REVISIONS_SHOWN = 50
_DRAFT_FIELDS = tuple(drafts.EntryDraft.model_fields)


class EntryForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """An entry with the content of its current revision, checked as the API checks it."""

    content = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 18}), max_length=drafts.CONTENT_MAX, strip=False
    )
    note = forms.CharField(
        max_length=300, required=False, help_text="Why, for the history of revisions", widget=UnfoldAdminTextInputWidget
    )

    class Meta:
        model = Entry
        fields = ("pack", "title", "tags", "metadata", "source_url", "external_id", "enabled")
        widgets = {"tags": UnfoldAdminTextInputWidget, "metadata": UnfoldAdminTextareaWidget(attrs={"rows": 2})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding:
            self.fields["content"].initial = self.instance.revision.content

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
                self._report(error)
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

    def _report(self, error: InvalidInput) -> None:
        for wrong in error.errors:
            name = wrong["pointer"].strip("/").partition("/")[0]
            self.add_error(name if name in self.fields else None, wrong["detail"])


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
class EntryAdmin(TrashingAdmin):
    form = EntryForm
    list_display = ("title", "pack", "state", "enabled", "tag_list", "times_cited", "number", "edited")
    list_before_template = "admin/knowledge/_tabs.html"
    change_form_outer_before_template = "admin/knowledge/_tabs.html"
    fieldsets = (
        (None, {"fields": ("pack", "title", "content", "note")}),
        ("Details", {"fields": ("tags", "metadata", "source_url", "external_id", "enabled")}),
        ("History", {"fields": ("revisions_shown", "reviewed_at", "review_by")}),
        (
            "Index",
            {"fields": ("index_status", "index_error", "revision_number", "version", "created_at", "updated_at", "id")},
        ),
    )
    list_filter = ("index_status", "enabled", ReviewFilter, UseFilter, "pack__status", "created_at")
    list_select_related = ("pack", "use")
    list_per_page = 50
    search_fields = ("title", "external_id", "pack__name")
    autocomplete_fields = ("pack",)
    ordering = ("-created_at",)
    actions = ("retry_indexing", "enable", "disable", "tag", "mark_reviewed")
    readonly_fields = (
        "id", "index_status", "index_error", "revision_number", "version", "created_at", "updated_at", "reviewed_at", "review_by",
        "revisions_shown",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        entries = cast("QuerySet[Entry]", super().get_queryset(request))
        return entries.filter(deleted_at__isnull=True)

    def get_urls(self) -> list[URLPattern]:
        diff = path(
            "<uuid:pk>/revisions/", self.admin_site.admin_view(self.diff_view), name="knowledge_entry_revisions"
        )
        return [diff, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Under the tabs of its pack, when the list is of one pack."""
        pack = open_pack(request.GET.get("pack__id__exact", ""))
        extra = {**(extra_context or {}), **(pack_context(pack, "entries") if pack else {})}
        return cast("HttpResponse", super().changelist_view(request, extra))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        entry = self.get_object(request, object_id)
        extra = {
            **(extra_context or {}),
            **(pack_context(entry.pack, "entries") if entry and is_open(entry.pack) else {}),
        }
        return cast("HttpResponse", super().change_view(request, object_id, form_url, extra))

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "pack__id__exact" or super().lookup_allowed(lookup, value, request)

    def get_readonly_fields(self, request: HttpRequest, obj: Entry | None = None) -> tuple[str, ...]:
        fixed = tuple(str(name) for name in self.readonly_fields)
        return (*fixed, "pack") if obj else (*fixed, "enabled")

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
        saved = services.revise_entry(obj.pk, author(request), form.draft(), note)
        if "enabled" in form.changed_data:
            saved = services.set_entry_enabled(obj.pk, enabled=form.cleaned_data["enabled"])
        become(obj, saved)

    def delete_model(self, request: HttpRequest, obj: Entry) -> None:
        services.delete_entry(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Entry]) -> None:
        for entry in queryset.exclude(pack__status__in=(PackStatus.ARCHIVED, PackStatus.DELETED)):
            services.delete_entry(entry.pk)

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

    @admin.display(description="Revisions")
    def revisions_shown(self, entry: Entry) -> SafeString | str:
        if entry._state.adding:
            return "–"
        revisions = entry.revisions.select_related("author").order_by("-number")[:REVISIONS_SHOWN]
        rows = [
            (one.number, f"{one.created_at:%Y-%m-%d %H:%M}", one.author or "–", one.note or "–", self._diff_link(one))
            for one in revisions
        ]
        return table(("", "when", "by", "note", ""), rows)

    def _diff_link(self, revision: EntryRevision) -> SafeString | str:
        if revision.number == 1:
            return "first"
        page = reverse("admin:knowledge_entry_revisions", args=[revision.entry_id])
        compared = f"{page}?from={revision.number - 1}&to={revision.number}"
        return format_html('<a class="q-link" href="{}">what changed</a>', compared)

    # --- Revisions side by side ---

    def diff_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        entry = self.get_queryset(request).select_related("pack").filter(pk=pk).first()
        if entry is None or not self.has_view_permission(request, entry):
            raise Http404("There is no such entry.")
        revisions = list(entry.revisions.select_related("author").defer("content").order_by("-number"))
        old, new = self._chosen(request, entry, [one.number for one in revisions])
        context = {
            **self.admin_site.each_context(request),
            **(pack_context(entry.pack, "entries") if is_open(entry.pack) else {}),
            "title": entry.title,
            "subtitle": "Revisions",
            "opts": self.opts,
            "entry": entry,
            "original": entry,
            "revisions": revisions,
            "old": old,
            "new": new,
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

    # --- Actions ---

    def _each(self, request: HttpRequest, entries: QuerySet[Entry], act: Callable[[Entry], object], what: str) -> None:
        """Do one thing to each entry, each in its own transaction; what one refuses does not hold up the others."""
        count, refused = 0, []
        for entry in entries:
            try:
                act(entry)
                count += 1
            except QuorumError as error:
                refused.append(f"{entry.title}: {error.detail}")
        done(request, count, what, refused)

    @admin.action(description="Index again (failed entries)", permissions=["change"])
    def retry_indexing(self, request: HttpRequest, queryset: QuerySet[Entry]) -> None:
        failed = queryset.filter(index_status=IndexStatus.FAILED)
        self._each(request, failed, lambda entry: services.retry_indexing(entry.pk), "queued again")

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Entry]) -> None:
        hidden = queryset.filter(enabled=False)
        self._each(request, hidden, lambda entry: services.set_entry_enabled(entry.pk, enabled=True), "enabled")

    @admin.action(description="Disable (hide from searches)", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Entry]) -> None:
        shown = queryset.filter(enabled=True)
        self._each(request, shown, lambda entry: services.set_entry_enabled(entry.pk, enabled=False), "disabled")

    @admin.action(description="Mark as reviewed", permissions=["change"])
    def mark_reviewed(self, request: HttpRequest, queryset: QuerySet[Entry]) -> None:
        reviewer = author(request)
        self._each(request, queryset, lambda entry: services.mark_reviewed([entry.pk], reviewer), "marked as reviewed")

    @admin.action(description="Tag …", permissions=["change"])
    def tag(self, request: HttpRequest, queryset: QuerySet[Entry]) -> HttpResponse | None:
        """Asks which tags to add and to remove, then does it."""
        form = TagForm(request.POST if "apply" in request.POST else None)
        if not form.is_valid():
            chosen = {"entries": queryset[:20], "count": queryset.count(), "form": form}
            names = {"checkbox": ACTION_CHECKBOX_NAME, "selected": request.POST.getlist(ACTION_CHECKBOX_NAME)}
            everything = {"all": request.POST.get("select_across", "0"), "title": "Tag entries", "opts": self.opts}
            context = {**self.admin_site.each_context(request), **chosen, **names, **everything}
            return TemplateResponse(request, "admin/knowledge/tag.html", context)
        add, remove = form.cleaned_data["add"], form.cleaned_data["remove"]

        def retag(entry: Entry) -> None:
            tags = [one for one in dict.fromkeys([*entry.tags, *add]) if one not in remove]
            if tags != entry.tags:
                services.revise_entry(entry.pk, author(request), {"tags": tags})

        self._each(request, queryset, retag, "tagged")
        return None


class TagForm(forms.Form):
    """Tags separated by commas."""

    add = forms.CharField(required=False, max_length=500)
    remove = forms.CharField(required=False, max_length=500)

    def clean_add(self) -> list[str]:
        return _tags(self.cleaned_data["add"])

    def clean_remove(self) -> list[str]:
        return _tags(self.cleaned_data["remove"])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors and not cleaned["add"] and not cleaned["remove"]:
            raise forms.ValidationError("Name at least one tag to add or to remove.")
        return cleaned


def _tags(text: str) -> list[str]:
    tags = list(dict.fromkeys(one.strip() for one in text.split(",") if one.strip()))
    if any(len(one) > TAG_MAX for one in tags):
        raise forms.ValidationError(f"A tag has at most {TAG_MAX} characters.")
    return tags


@admin.register(EntryRevision)
class EntryRevisionAdmin(ReadOnly, ModelAdmin):
    """History, to be read: the database itself refuses changes."""

    list_display = ("title", "number", "entry", "author", "note", "created_at")
    list_select_related = ("entry", "author")
    search_fields = ("title", "entry__id")
    ordering = ("-created_at",)
