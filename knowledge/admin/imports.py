"""Imports: the list, the form that begins one, and the page of one with its items, while it runs and afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldAdminURLInputWidget,
    UnfoldBooleanSwitchWidget,
)

from knowledge.admin.common import STATUS_COLOURS, TagsField, author, day, explain
from knowledge.admin.history import OfPack
from knowledge.admin.pages import pack_chosen, pack_context
from knowledge.drafts import URL_MAX
from knowledge.imports import files
from knowledge.models import Import, KnowledgePack
from knowledge.services import imports as service
from knowledge.shapes import import_header
from knowledge.states import ImportStatus, ItemStatus, PackStatus
from realtime.errors import QuorumError

FILES_MAX = 20  # of one form; each is an import of its own
SHOWN = 200
ITEM_WORDS = ("created", "updated", "unchanged", "failed", "skipped")


class Files(UnfoldAdminFileFieldWidget):
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Any number of files up to ``FILES_MAX``; the value is a list."""

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile[bytes]]:
        found = [super(FilesField, self).clean(one, initial) for one in data or ()]
        if len(found) > FILES_MAX:
            raise forms.ValidationError(f"At most {FILES_MAX} files at once; pack more into a zip.")
        if large := [one.name for one in found if one.size > settings.IMPORT_MAX_BYTES]:
            room = settings.IMPORT_MAX_BYTES // 1024 // 1024
            raise forms.ValidationError(f"A file may have at most {room} MB: {', '.join(large)}.")
        return found


class ImportForm(forms.Form):
    """What ``POST …/imports`` takes, with the pack."""

    pack = forms.ModelChoiceField(
        queryset=KnowledgePack.objects.filter(status__in=[PackStatus.DRAFT, PackStatus.ACTIVE]).order_by("name"),
        widget=UnfoldAdminSelectWidget,
    )
    uploads = FilesField(
        label="Files",
        required=False,
        widget=Files,
        help_text="Markdown, text, HTML, PDF, DOCX, CSV, JSON lines, or a zip of these; several files are several imports",
    )
    urls = forms.CharField(
        label="Or addresses of pages",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=f"One a line, at most {service.URLS_MAX}",
    )
    on_duplicate = forms.ChoiceField(
        label="Texts that the pack has already",
        choices=[
            ("skip", "Leave the entry as it is"),
            ("update", "Update its tags and metadata"),
            ("fail", "Report as failed"),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    tags = TagsField(
        widget=UnfoldAdminTextInputWidget, help_text="For every entry, separated by commas", label="Tags to add"
    )
    source_url = forms.URLField(
        label="Source address",
        required=False,
        max_length=URL_MAX,
        assume_scheme="https",
        widget=UnfoldAdminURLInputWidget,
        help_text="For entries that name none of their own",
    )
    folder_tags = forms.BooleanField(
        label="Folders of a zip become tags", required=False, widget=UnfoldBooleanSwitchWidget
    )
    path_ids = forms.BooleanField(
        label="Remember files by their path",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="The path becomes the external id, so that importing a changed file later revises its entry",
    )
    dry_run = forms.BooleanField(
        label="Show the plan first",
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Nothing is written until you have seen what would change",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not settings.IMPORT_URL_ALLOWLIST:
            del self.fields["urls"]  # this server fetches nothing

    def clean_urls(self) -> list[str]:
        return [line.strip() for line in self.cleaned_data["urls"].splitlines() if line.strip()]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors and bool(cleaned["uploads"]) == bool(cleaned.get("urls")):
            self.add_error("uploads", "Choose files, or name addresses, and not both.")
        return cleaned


@admin.register(Import)
class ImportAdmin(OfPack):
    tab = "imports"
    list_display = ("__str__", "pack", "state", "items_counted", "created_by", "begun")
    list_filter = ("status", "dry_run", "created_at")
    list_select_related = ("pack", "created_by")
    search_fields = ("filename", "pack__name")
    ordering = ("-created_at", "-id")

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("knowledge.add_import")

    def get_urls(self) -> list[URLPattern]:
        """``knowledge_import_add`` and ``knowledge_import_change`` are pages of our own, the latter with two buttons."""
        view = self.admin_site.admin_view
        commit = self._button(service.commit_import, "The plan is being carried out.")
        cancel = self._button(service.cancel_import, "The import was cancelled; what was written stays.")
        return [
            path("<uuid:pk>/commit/", view(require_POST(commit)), name="knowledge_import_commit"),
            path("<uuid:pk>/cancel/", view(require_POST(cancel)), name="knowledge_import_cancel"),
            *super().get_urls(),
        ]

    # --- Beginning one ---

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        pack = pack_chosen(request)
        form = ImportForm(initial={"pack": pack})
        if request.method == "POST":
            form = ImportForm(request.POST, _many(request))
            if jobs := self._begun(request, form):
                return self._to(jobs)
        context = {
            **self.admin_site.each_context(request),
            **(pack_context(request, pack, "imports") if pack else {}),
            "title": "Import entries",
            "opts": self.opts,
            "form": form,
            "fetching": bool(settings.IMPORT_URL_ALLOWLIST),
        }
        return TemplateResponse(request, "admin/knowledge/import_add.html", context)

    def _begun(self, request: HttpRequest, form: ImportForm) -> list[Import]:
        """The imports of a good form; none where something is wrong, which the form then says."""
        if not form.is_valid():
            return []
        try:
            jobs = begin(form.cleaned_data, request)
        except QuorumError as error:
            explain(form, error, {"pack_closed": "pack", "fetching_off": "urls"})
            return []
        for job in jobs:
            self.log_addition(request, job, "Began the import.")
        return jobs

    def _to(self, jobs: list[Import]) -> HttpResponse:
        if len(jobs) == 1:
            return redirect(reverse("admin:knowledge_import_change", args=[jobs[0].pk]))
        return redirect(f"{reverse('admin:knowledge_import_changelist')}?pack__id__exact={jobs[0].pack_id}")

    # --- One import ---

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        job = cast("Import | None", self.get_object(request, object_id))
        if job is None:
            raise Http404("There is no such import.")
        if request.method != "GET" or not self.has_view_permission(request, job):
            raise PermissionDenied
        header = import_header(job)
        status = ImportStatus(job.status)
        chosen = request.GET.get("items", "")
        items = job.items.select_related("entry").order_by("ordinal")
        if chosen in ItemStatus.values:
            items = items.filter(status=chosen)
        may = request.user.has_perm("knowledge.change_import")
        done = sum(header["counts"][name] for name in ITEM_WORDS)
        context = {
            **self.admin_site.each_context(request),
            **(pack_context(request, job.pack, "imports") if job.pack.status != PackStatus.DELETED else {}),
            "title": str(job),
            "subtitle": "Import",
            "original": job,
            "opts": self.opts,
            "job": job,
            "header": header,
            "colour": STATUS_COLOURS[job.status],
            "options": options_said(job),
            "planned_words": [(name, header["plan"][name]) for name in ("created", "updated", "unchanged")],
            "counts": [(name, count) for name, count in header["counts"].items() if count],
            "done": done,
            "items": items[:SHOWN],
            "items_chosen": chosen,
            "more": max(items.count() - SHOWN, 0),
            "live": status in (ImportStatus.QUEUED, ImportStatus.READING, ImportStatus.WRITING),
            "may_commit": may and status == ImportStatus.PLANNED,
            "may_cancel": may and status not in service.FINAL,
        }
        return TemplateResponse(request, "admin/knowledge/import.html", context)

    def _button(self, act: Callable[[UUID], Import], said: str) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, pk: UUID) -> HttpResponse:
            if not request.user.has_perm("knowledge.change_import"):
                raise PermissionDenied
            try:
                job = act(pk)
            except QuorumError as error:
                messages.error(request, error.detail)
            else:
                self.log_change(request, job, said)
                messages.success(request, said)
            return redirect(reverse("admin:knowledge_import_change", args=[pk]))

        return view

    # --- Columns ---

    @display(description="status", label=STATUS_COLOURS, ordering="status")
    def state(self, job: Import) -> str:
        return job.status

    @admin.display(description="items")
    def items_counted(self, job: Import) -> str:
        counts = import_header(job)["counts"]
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "–"

    @admin.display(description="begun", ordering="created_at")
    def begun(self, job: Import) -> SafeString | str:
        return day(job.created_at)


def begin(values: dict[str, Any], request: HttpRequest) -> list[Import]:
    """An import of each file, or one of the addresses."""
    service.check_urls(values.get("urls", []))
    names = ("tags", "source_url", "folder_tags", "path_ids")
    common: dict[str, Any] = {name: values[name] for name in ("on_duplicate", "dry_run")}
    common["options"] = {name: values[name] for name in names if values[name]}
    if not values["uploads"]:
        return [service.create_import(values["pack"], author(request), urls=values["urls"], **common)]
    return [_begin_file(values["pack"], request, upload, common) for upload in values["uploads"]]


def _begin_file(
    pack: KnowledgePack, request: HttpRequest, upload: UploadedFile[bytes], common: dict[str, Any]
) -> Import:
    stored, out = files.create()
    try:
        with out:
            for chunk in upload.chunks():
                out.write(chunk)
        return service.create_import(
            pack,
            author(request),
            path=stored,
            filename=upload.name or "upload",
            media_type=upload.content_type or "",
            size=upload.size or 0,
            **common,
        )
    except Exception:
        files.remove(stored)
        raise


def _many(request: HttpRequest) -> Any:
    """The files of a form; a file input with several gives its list."""
    return {"uploads": request.FILES.getlist("uploads")}


def options_said(job: Import) -> list[tuple[str, str]]:
    """What was chosen for the import, in words."""
    options = job.options
    said = {
        "Texts that the pack has": {
            "skip": "left as they are", "update": "updated", "fail": "reported as failed",
        }[job.on_duplicate],
        "Tags added": ", ".join(options.get("tags", [])),
        "Source address": options.get("source_url", ""),
        "Folders become tags": "yes" if options.get("folder_tags") else "",
        "Files remembered by path": "yes" if options.get("path_ids") else "",
        "Addresses": ", ".join(job.urls),
    }  # fmt: skip
    return [(name, value) for name, value in said.items() if value]
