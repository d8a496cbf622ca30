"""Packs and entries for staff who curate. Every write goes through ``services``, so an edit here is indexed and recorded like any
other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.models import User
from knowledge import drafts, services
from knowledge.models import Entry, EntryRevision, KnowledgePack
from knowledge.selectors import twin_of
from knowledge.states import IndexStatus, PackStatus, check_pack_transition
from realtime.errors import IllegalState, InvalidInput

RECENT_EVENTS = 20
_DRAFT_FIELDS = tuple(drafts.EntryDraft.model_fields)


class PackForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    class Meta:
        model = KnowledgePack
        fields = ("owner", "name", "description", "visibility", "status", "tags", "language")

    def clean_status(self) -> str:
        status: str = self.cleaned_data["status"]
        try:
            check_pack_transition(self.initial.get("status", PackStatus.DRAFT), status)
        except IllegalState as error:
            raise forms.ValidationError(error.detail) from error
        if status == PackStatus.DELETED:
            raise forms.ValidationError("Use the delete button to move a pack to the trash.")
        return status


class TrashingAdmin(ModelAdmin):
    """Deleting here means a service that hides rows; nothing else goes with them, so there is nothing else to list or to permit."""

    def get_deleted_objects(
        self, objs: Sequence[Any], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        return [str(item) for item in objs], {str(self.opts.verbose_name_plural): len(objs)}, set(), []


@admin.register(KnowledgePack)
class KnowledgePackAdmin(TrashingAdmin):
    form = PackForm
    list_display = ("name", "owner", "status", "entry_count", "language", "updated_at")
    list_filter = ("status", "visibility", "language")
    list_select_related = ("owner",)
    search_fields = ("name", "description", "owner__email")
    autocomplete_fields = ("owner",)
    ordering = ("-created_at",)
    readonly_fields = ("id", "version", "entry_count", "passage_count", "created_at", "updated_at", "recent_events")

    def get_readonly_fields(self, request: HttpRequest, obj: KnowledgePack | None = None) -> tuple[str, ...]:
        fixed = tuple(str(name) for name in self.readonly_fields)
        return (*fixed, "owner") if obj else (*fixed, "status")  # a pack keeps its owner; a new one is a draft

    def has_change_permission(self, request: HttpRequest, obj: KnowledgePack | None = None) -> bool:
        return _open(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: KnowledgePack | None = None) -> bool:
        return _open(obj) and super().has_delete_permission(request, obj)

    def save_model(
        self, request: HttpRequest, obj: KnowledgePack, form: PackForm, change: bool
    ) -> None:  # Django's signature
        values = {name: form.cleaned_data[name] for name in form.cleaned_data if name in services.PACK_FIELDS}
        if change:
            saved = services.update_pack(obj.pk, values)
        else:
            values.pop("status", None)
            saved = services.create_pack(form.cleaned_data["owner"], **values)
        _become(obj, saved)

    def delete_model(self, request: HttpRequest, obj: KnowledgePack) -> None:
        services.delete_pack(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[KnowledgePack]) -> None:
        for pack in queryset.exclude(status=PackStatus.DELETED):
            services.delete_pack(pack.pk)

    @admin.display(description="Recent events")
    def recent_events(self, obj: KnowledgePack) -> str:
        """The end of the log; Django's admin has no pages for models with a composite key."""
        events = obj.events.order_by("-seq")[:RECENT_EVENTS]
        return "\n".join(f"{event.seq}  {event.created_at:%Y-%m-%d %H:%M:%S}  {event.type}" for event in events)


class EntryForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    """An entry with the content of its current revision, checked as the API checks it."""

    content = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 24}), max_length=drafts.CONTENT_MAX, strip=False
    )
    note = forms.CharField(max_length=300, required=False, help_text="Why, for the history of revisions")

    class Meta:
        model = Entry
        fields = ("pack", "title", "tags", "metadata", "source_url", "external_id", "enabled")

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
        if not _editable(pack):
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


@admin.register(Entry)
class EntryAdmin(TrashingAdmin):
    form = EntryForm
    list_display = ("title", "pack", "index_status", "enabled", "revision_number", "updated_at")
    list_filter = ("index_status", "enabled", "pack__status")
    list_select_related = ("pack",)
    search_fields = ("title", "external_id", "pack__name")
    autocomplete_fields = ("pack",)
    ordering = ("-created_at",)
    actions = ("retry_indexing",)
    readonly_fields = ("id", "index_status", "index_error", "revision_number", "version", "created_at", "updated_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        entries: QuerySet[Entry] = super().get_queryset(request)
        return entries.filter(deleted_at__isnull=True)

    def get_readonly_fields(self, request: HttpRequest, obj: Entry | None = None) -> tuple[str, ...]:
        fixed = tuple(str(name) for name in self.readonly_fields)
        return (*fixed, "pack") if obj else (*fixed, "enabled")

    def has_change_permission(self, request: HttpRequest, obj: Entry | None = None) -> bool:
        return _editable(obj.pack if obj else None) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Entry | None = None) -> bool:
        return _editable(obj.pack if obj else None) and super().has_delete_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Entry, form: EntryForm, change: bool) -> None:  # Django's signature
        author = request.user if isinstance(request.user, User) else None
        note = form.cleaned_data["note"]
        if not change:
            (result,) = services.add_entries(obj.pack, author, [form.draft()], note)
            _become(
                obj, result.entry or result.twin
            )  # a twin that came between the form's check and now is what was meant
            return
        saved = services.revise_entry(obj.pk, author, form.draft(), note)
        if "enabled" in form.changed_data:
            saved = services.set_entry_enabled(obj.pk, enabled=form.cleaned_data["enabled"])
        _become(obj, saved)

    def delete_model(self, request: HttpRequest, obj: Entry) -> None:
        services.delete_entry(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Entry]) -> None:
        for entry in queryset.exclude(pack__status__in=(PackStatus.ARCHIVED, PackStatus.DELETED)):
            services.delete_entry(entry.pk)

    @admin.action(description="Index again (failed entries)")
    def retry_indexing(self, request: HttpRequest, queryset: QuerySet[Entry]) -> None:
        failed = list(queryset.filter(index_status=IndexStatus.FAILED))
        for entry in failed:
            services.retry_indexing(entry.pk)
        self.message_user(request, f"{len(failed)} failed entries were queued again.", messages.SUCCESS)


@admin.register(EntryRevision)
class EntryRevisionAdmin(ModelAdmin):
    """History, to be read: the database itself refuses changes."""

    list_display = ("title", "number", "entry", "author", "note", "created_at")
    list_select_related = ("entry", "author")
    search_fields = ("title", "entry__id")
    ordering = ("-created_at",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: EntryRevision | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: EntryRevision | None = None) -> bool:
        return False


def _editable(pack: KnowledgePack | None) -> bool:
    """Whether the pack's entries may be changed; None stands for the list as a whole."""
    return pack is None or pack.status not in (PackStatus.ARCHIVED, PackStatus.DELETED)


def _open(pack: KnowledgePack | None) -> bool:
    """Whether the pack may be changed from here; None stands for the list as a whole."""
    return pack is None or pack.status != PackStatus.DELETED


def _become(shown: KnowledgePack | Entry, saved: KnowledgePack | Entry | None) -> None:
    """Give the object that the admin goes on with (history, messages, links) the state of the one that the service saved."""
    if saved is not None:
        shown.__dict__.update(saved.__dict__)
