"""Packs: the list that shows where care is needed, and the settings of one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from knowledge import services
from knowledge.admin.common import STATUS_COLOURS, TrashingAdmin, become, is_open, table
from knowledge.admin.pages import DAYS, PackPages, pack_context, space_rows
from knowledge.models import Entry, Evaluation, KnowledgePack, SearchLog
from knowledge.states import IndexStatus, PackStatus, check_pack_transition
from realtime.errors import IllegalState

RECENT_EVENTS = 20


class PackForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    class Meta:
        model = KnowledgePack
        fields = ("owner", "name", "description", "visibility", "status", "tags", "language", "gate_publishing")
        widgets = {"tags": UnfoldAdminTextInputWidget, "description": UnfoldAdminTextareaWidget(attrs={"rows": 4})}
        help_texts = {"gate_publishing": "nDCG@10 of the golden questions, 0 to 1, below which nothing is published"}

    def clean_status(self) -> str:
        status: str = self.cleaned_data["status"]
        try:
            check_pack_transition(self.initial.get("status", PackStatus.DRAFT), status)
        except IllegalState as error:
            raise forms.ValidationError(error.detail) from error
        if status == PackStatus.DELETED:
            raise forms.ValidationError("Use the delete button to move a pack to the trash.")
        return status

    def clean_gate_publishing(self) -> float | None:
        gate: float | None = self.cleaned_data["gate_publishing"]
        if gate is not None and not 0 <= gate <= 1:
            raise forms.ValidationError("A number from 0 to 1.")
        return gate


def bar(part: int, whole: int) -> SafeString:
    return format_html(
        '<progress class="q-progress" value="{}" max="{}"></progress> <span class="q-nowrap">{} of {}</span>',
        part,
        whole or 1,
        part,
        whole,
    )


@admin.register(KnowledgePack)
class KnowledgePackAdmin(PackPages, TrashingAdmin):
    form = PackForm
    list_display = ("title", "state", "owner", "entries_total", "unready", "zero_rate", "ndcg", "tools")
    list_filter = ("status", "visibility", "language", "created_at")
    list_select_related = ("owner",)
    list_per_page = 50
    search_fields = ("name", "description", "owner__email")
    autocomplete_fields = ("owner",)
    ordering = ("-created_at",)
    readonly_fields = (
        "id", "version", "entry_count", "passage_count", "created_at", "updated_at", "spaces_shown", "shares_shown", "recent_events",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("owner", *(name for name in PackForm.Meta.fields if name != "owner"))}),
        ("Index", {"fields": ("spaces_shown", "entry_count", "passage_count")}),
        ("Sharing", {"fields": ("shares_shown",)}),
        ("Record", {"fields": ("recent_events", "version", "created_at", "updated_at", "id")}),
    )
    change_form_outer_before_template = "admin/knowledge/_tabs.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[KnowledgePack]:
        packs = cast("QuerySet[KnowledgePack]", super().get_queryset(request))
        entries = Entry.objects.filter(pack=OuterRef("pk"), deleted_at=None)
        recent = SearchLog.objects.filter(pack=OuterRef("pk"), at__gte=timezone.now() - timedelta(days=DAYS))
        runs = Evaluation.objects.filter(pack=OuterRef("pk")).order_by("-created_at", "-id")
        return packs.annotate(
            entries_failed=_counted(entries.filter(index_status=IndexStatus.FAILED)),
            entries_waiting=_counted(entries.filter(index_status__in=[IndexStatus.PENDING, IndexStatus.INDEXING])),
            searched=_counted(recent),
            searched_for_nothing=_counted(recent.filter(hits=0)),
            latest_ndcg=Subquery(runs.values("ndcg_10")[:1]),
        )

    def get_urls(self) -> list[URLPattern]:
        return [*self.page_urls(), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        pack = self.get_object(request, object_id)
        extra = {**(extra_context or {}), **(pack_context(pack, "change") if pack and is_open(pack) else {})}
        return cast("HttpResponse", super().change_view(request, object_id, form_url, extra))

    def get_readonly_fields(self, request: HttpRequest, obj: KnowledgePack | None = None) -> tuple[str, ...]:
        fixed = tuple(str(name) for name in self.readonly_fields)
        # A pack keeps its owner; a new one is a draft without a gate.
        return (*fixed, "owner") if obj else (*fixed, "status", "gate_publishing")

    def has_change_permission(self, request: HttpRequest, obj: KnowledgePack | None = None) -> bool:
        return is_open(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: KnowledgePack | None = None) -> bool:
        return is_open(obj) and super().has_delete_permission(request, obj)

    def save_model(
        self, request: HttpRequest, obj: KnowledgePack, form: PackForm, change: bool
    ) -> None:  # Django's signature
        values = {name: form.cleaned_data[name] for name in form.cleaned_data if name in services.PACK_FIELDS}
        if change:
            saved = services.update_pack(obj.pk, values)
        else:
            values.pop("status", None)
            saved = services.create_pack(form.cleaned_data["owner"], **values)
        become(obj, saved)

    def delete_model(self, request: HttpRequest, obj: KnowledgePack) -> None:
        services.delete_pack(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[KnowledgePack]) -> None:
        for pack in queryset.exclude(status=PackStatus.DELETED):
            services.delete_pack(pack.pk)

    @display(description="status", label=STATUS_COLOURS, ordering="status")
    def state(self, pack: KnowledgePack) -> str:
        return pack.status

    @admin.display(description="name", ordering="name")
    def title(self, pack: KnowledgePack) -> SafeString:
        return format_html('<span class="q-name">{}</span>', pack.name)

    @admin.display(description="not ready", ordering="entries_failed")
    def unready(self, pack: KnowledgePack) -> SafeString | str:
        waiting, failed = vars(pack)["entries_waiting"], vars(pack)["entries_failed"]
        pending = format_html('<span class="q-tag q-pending">{} waiting</span> ', waiting) if waiting else ""
        broken = format_html('<span class="q-tag q-failed">{} failed</span>', failed) if failed else ""
        return format_html("{}{}", pending, broken) if waiting or failed else "–"

    @admin.display(description="entries", ordering="entry_count")
    def entries_total(self, pack: KnowledgePack) -> int:
        return pack.entry_count

    @admin.display(description="zero results")
    def zero_rate(self, pack: KnowledgePack) -> str:
        searched = vars(pack)["searched"]
        return f"{vars(pack)['searched_for_nothing'] / searched:.0%} of {searched}" if searched else "–"

    @admin.display(description="nDCG@10", ordering="latest_ndcg")
    def ndcg(self, pack: KnowledgePack) -> str:
        latest = vars(pack)["latest_ndcg"]
        return "–" if latest is None else f"{latest:.3f}"

    @admin.display(description="")
    def tools(self, pack: KnowledgePack) -> SafeString | str:
        if not is_open(pack):
            return ""
        link = reverse("admin:knowledge_knowledgepack_dashboard", args=[pack.pk])
        return format_html('<a class="q-link" href="{}">dashboard</a>', link)

    @admin.display(description="Embedding spaces")
    def spaces_shown(self, pack: KnowledgePack) -> SafeString | str:
        rows = [
            (
                one["space"].model,
                one["space"].dimension,
                one["space"].state,
                bar(one["filled"], one["of"]),
                one["space"].error or "–",
            )
            for one in space_rows(pack)
        ]
        return table(("model", "dimension", "state", "passages embedded", "error"), rows)

    @admin.display(description="Shared with")
    def shares_shown(self, pack: KnowledgePack) -> SafeString | str:
        shares = pack.shares.select_related("user", "created_by").order_by("created_at")
        rows = [(one.user, one.role, one.created_by or "–", f"{one.created_at:%Y-%m-%d}") for one in shares]
        return table(("person", "role", "shared by", "since"), rows)

    @admin.display(description="Recent events")
    def recent_events(self, obj: KnowledgePack) -> str:
        """The end of the log; Django's admin has no pages for models with a composite key."""
        events = obj.events.order_by("-seq")[:RECENT_EVENTS]
        return "\n".join(f"{event.seq}  {event.created_at:%Y-%m-%d %H:%M:%S}  {event.type}" for event in events)


def _counted(rows: QuerySet[Any]) -> Coalesce:
    """How many rows belong to the outer pack."""
    counted = rows.order_by().values("pack").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)
