"""Packs: the list that shows where care is needed, and the settings of one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

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
from knowledge.admin import embedding, hits, manage, quality, sharing
from knowledge.admin.common import STATUS_COLOURS, ServiceErrors, TrashingAdmin, become, counted, done, is_open
from knowledge.admin.dashboard import DAYS
from knowledge.admin.dashboard import PAGE as DASHBOARD
from knowledge.admin.pages import PackPages, pack_context
from knowledge.models import Entry, Evaluation, KnowledgePack, SearchLog
from knowledge.ranking import Mode
from knowledge.states import IndexStatus, PackStatus
from realtime.errors import QuorumError


class PackForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    class Meta:
        model = KnowledgePack
        fields = ("owner", "name", "description", "visibility", "tags", "language", "gate_publishing")
        widgets = {"tags": UnfoldAdminTextInputWidget, "description": UnfoldAdminTextareaWidget(attrs={"rows": 4})}
        labels = {"gate_publishing": "Publishing gate"}
        help_texts = {
            "visibility": "Public packs are read by everybody who is signed in",
            "tags": "Separated by commas",
            "language": "Of the words, for stemming; a change indexes them anew",
            "gate_publishing": "nDCG@10 of the golden questions, 0 to 1, below which no snapshot is published; blank for none",
        }

    def clean_gate_publishing(self) -> float | None:
        gate: float | None = self.cleaned_data["gate_publishing"]
        if gate is not None and not 0 <= gate <= 1:
            raise forms.ValidationError("A number from 0 to 1.")
        return gate


class StatusFilter(admin.SimpleListFilter):
    """Packs in the trash only show when they are asked for."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        named = [(status.value, status.label) for status in PackStatus if status != PackStatus.DELETED]
        return [*named, (PackStatus.DELETED.value, "In the trash")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[KnowledgePack]) -> QuerySet[KnowledgePack]:
        if self.value() in PackStatus.values:
            return queryset.filter(status=self.value())
        # Whoever follows a link to one pack (autocompletion, a change page) finds it wherever it is.
        return queryset.exclude(status=PackStatus.DELETED)


def bar(part: int, whole: int) -> SafeString:
    return format_html(
        '<progress class="q-progress" value="{}" max="{}"></progress> <span class="q-nowrap">{} of {}</span>',
        part,
        whole or 1,
        part,
        whole,
    )


@admin.register(KnowledgePack)
class KnowledgePackAdmin(PackPages, ServiceErrors, TrashingAdmin):
    pages = (
        DASHBOARD, quality.QUESTIONS, hits.PAGE, quality.SEARCHES_PAGE, quality.REVIEW, sharing.PAGE, embedding.PAGE, manage.PAGE,
    )  # fmt: skip
    form = PackForm
    list_display = ("title", "state", "owner", "entries_total", "unready", "zero_rate", "ndcg", "tools")
    list_filter = (StatusFilter, "visibility", "language", "created_at")
    list_select_related = ("owner",)
    list_per_page = 50
    search_fields = ("name", "description", "owner__email")
    autocomplete_fields = ("owner",)
    ordering = ("-created_at",)
    actions = ("activate", "archive", "restore")
    readonly_fields = ("id", "state", "version", "entry_count", "passage_count", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": PackForm.Meta.fields}),
        ("Record", {"fields": ("state", "entry_count", "passage_count", "version", "created_at", "updated_at", "id")}),
    )
    change_form_outer_before_template = "admin/knowledge/_tabs.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[KnowledgePack]:
        packs = cast("QuerySet[KnowledgePack]", super().get_queryset(request))
        entries = Entry.objects.filter(pack=OuterRef("pk"), deleted_at=None)
        recent = SearchLog.objects.filter(pack=OuterRef("pk"), at__gte=timezone.now() - timedelta(days=DAYS))
        runs = Evaluation.objects.filter(pack=OuterRef("pk"), mode=Mode.HYBRID).order_by("-created_at", "-id")
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
        extra = {**(extra_context or {}), **(pack_context(request, pack, "change") if pack else {})}
        return cast("HttpResponse", super().change_view(request, object_id, form_url, extra))

    def get_readonly_fields(self, request: HttpRequest, obj: KnowledgePack | None = None) -> tuple[str, ...]:
        fixed = tuple(str(name) for name in self.readonly_fields)
        return (*fixed, "owner") if obj else fixed  # another owner is made on the page of sharing

    def get_fieldsets(self, request: HttpRequest, obj: KnowledgePack | None = None) -> Any:
        """A new pack has no record, and its gate is for later."""
        if obj:
            return super().get_fieldsets(request, obj)
        return ((None, {"fields": tuple(name for name in PackForm.Meta.fields if name != "gate_publishing")}),)

    def has_change_permission(self, request: HttpRequest, obj: KnowledgePack | None = None) -> bool:
        return is_open(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: KnowledgePack | None = None) -> bool:
        return is_open(obj) and super().has_delete_permission(request, obj)

    def save_model(
        self, request: HttpRequest, obj: KnowledgePack, form: PackForm, change: bool
    ) -> None:  # Django's signature
        values = {name: form.cleaned_data[name] for name in form.cleaned_data if name in services.PACK_FIELDS}
        if change:
            become(obj, services.update_pack(obj.pk, values))
        else:
            become(obj, services.create_pack(form.cleaned_data["owner"], **values))

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

    @admin.display(description="without result")
    def zero_rate(self, pack: KnowledgePack) -> str:
        searched = vars(pack)["searched"]
        return f"{vars(pack)['searched_for_nothing'] / searched:.0%} of {searched}" if searched else "–"

    @admin.display(description="golden nDCG@10", ordering="latest_ndcg")
    def ndcg(self, pack: KnowledgePack) -> str:
        latest = vars(pack)["latest_ndcg"]
        return "–" if latest is None else f"{latest:.3f}"

    @admin.display(description="")
    def tools(self, pack: KnowledgePack) -> SafeString | str:
        name, title = ("dashboard", "Dashboard") if is_open(pack) else ("manage", "Restore")
        link = reverse(f"admin:knowledge_knowledgepack_{name}", args=[pack.pk])
        return format_html('<a class="q-link" href="{}">{}</a>', link, title)

    # --- Actions ---

    @admin.action(description="Activate", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[KnowledgePack]) -> None:
        self._each(request, queryset, lambda pk: services.update_pack(pk, {"status": PackStatus.ACTIVE}), "active")

    @admin.action(description="Archive (read-only)", permissions=["change"])
    def archive(self, request: HttpRequest, queryset: QuerySet[KnowledgePack]) -> None:
        self._each(request, queryset, lambda pk: services.update_pack(pk, {"status": PackStatus.ARCHIVED}), "archived")

    @admin.action(description="Restore from the trash", permissions=["delete"])
    def restore(self, request: HttpRequest, queryset: QuerySet[KnowledgePack]) -> None:
        self._each(request, queryset, services.restore_pack, "restored")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Restoring is for the trash, everything else for the rest."""
        actions = super().get_actions(request)
        trash = request.GET.get("status") == PackStatus.DELETED
        return {name: action for name, action in actions.items() if (name == "restore") == trash}

    def _each(
        self, request: HttpRequest, packs: QuerySet[KnowledgePack], act: Callable[[UUID], object], what: str
    ) -> None:
        count, refused = 0, []
        for pack in packs:
            try:
                act(pack.pk)
            except QuorumError as error:
                refused.append(f"{pack.name}: {error.detail}")
            else:
                self.log_change(request, pack, what)
                count += 1
        done(request, f"{counted(count, 'pack is', 'packs are')} {what}.", refused)


def _counted(rows: QuerySet[Any]) -> Coalesce:
    """How many rows belong to the outer pack."""
    counted = rows.order_by().values("pack").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)
