"""The page of what is done with a pack as a whole: export, copy, archive, trash."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from knowledge import selectors, services
from knowledge.admin.common import signed_in
from knowledge.admin.pages import Context, Page, Step, StepForm
from knowledge.downloads import export_response
from knowledge.models import TITLE_MAX, KnowledgePack
from knowledge.states import PACK_TRANSITIONS, PackStatus
from realtime.errors import IllegalState

DELETE_PACK = "knowledge.delete_knowledgepack"
FORMATS = [("jsonl", "JSON lines"), ("markdown", "Zip of Markdown files")]


class ExportForm(StepForm):
    format = forms.ChoiceField(choices=FORMATS, widget=UnfoldAdminSelectWidget)


class CopyForm(StepForm):
    name = forms.CharField(max_length=TITLE_MAX, widget=UnfoldAdminTextInputWidget)
    snapshot = forms.ChoiceField(required=False, label="What is copied", widget=UnfoldAdminSelectWidget)

    def __init__(self, pack: KnowledgePack, *args: Any, **kwargs: Any) -> None:
        super().__init__(pack, *args, **kwargs)
        self.fields["name"].initial = f"Copy of {pack.name}"[:TITLE_MAX]
        field = cast("forms.ChoiceField", self.fields["snapshot"])
        labels = pack.snapshots.order_by("-created_at").values_list("pk", "label")
        field.choices = [("", "The pack as it is now"), *((str(pk), f"Snapshot {label}") for pk, label in labels)]


def manage(_request: HttpRequest, pack: KnowledgePack) -> Context:
    following = PACK_TRANSITIONS[PackStatus(pack.status)]
    trashed = pack.status == PackStatus.DELETED
    until = pack.deleted_at + timedelta(days=settings.TRASH_DAYS) if pack.deleted_at else None
    return {
        "trashed": trashed,
        "until": until,
        "restores_to": pack.deleted_from or PackStatus.ACTIVE,
        "can_activate": not trashed and PackStatus.ACTIVE in following,
        "can_archive": PackStatus.ARCHIVED in following and not trashed,
        "trash_days": settings.TRASH_DAYS,
    }


def export(request: HttpRequest, pack: KnowledgePack, values: dict[str, Any]) -> HttpResponse:
    if pack.status == PackStatus.DELETED:
        raise IllegalState("The pack is in the trash.", code="pack_closed")
    return export_response(request, pack, values["format"])  # type: ignore[return-value]  # a response all the same


def fork(request: HttpRequest, pack: KnowledgePack, values: dict[str, Any]) -> HttpResponse:
    snapshot = selectors.snapshot_for(pack, values["snapshot"]) if values["snapshot"] else None
    made = services.fork(pack.pk, signed_in(request), values["name"], snapshot)
    return redirect(reverse("admin:knowledge_knowledgepack_dashboard", args=[made.pk]))


def activate(_request: HttpRequest, pack: KnowledgePack, _values: dict[str, Any]) -> str:
    services.update_pack(pack.pk, {"status": PackStatus.ACTIVE})
    return "The pack is active: its entries can be changed."


def archive(_request: HttpRequest, pack: KnowledgePack, _values: dict[str, Any]) -> str:
    services.update_pack(pack.pk, {"status": PackStatus.ARCHIVED})
    return "The pack is archived: it is found and read, and nothing in it changes."


def trash(_request: HttpRequest, pack: KnowledgePack, _values: dict[str, Any]) -> str:
    services.delete_pack(pack.pk)
    return f"The pack is in the trash, where it can be restored for {settings.TRASH_DAYS} days."


def restore(_request: HttpRequest, pack: KnowledgePack, _values: dict[str, Any]) -> str:
    restored = services.restore_pack(pack.pk)
    return f"The pack is back, {restored.status} as it was."


PAGE = Page(
    "manage",
    "Manage",
    manage,
    {
        "export": Step(export, "knowledge.view_entry", ExportForm),
        "fork": Step(fork, "knowledge.add_knowledgepack", CopyForm),
        "activate": Step(activate, row=True),
        "archive": Step(archive, row=True),
        "trash": Step(trash, DELETE_PACK, row=True),
        "restore": Step(restore, DELETE_PACK, row=True),
    },
    trashed=True,
)
