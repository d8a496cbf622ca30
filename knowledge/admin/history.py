"""What belongs to a pack and is only read here: evaluations and the search log."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from knowledge.admin.common import ReadOnly, TrashingAdmin, is_open, table, without_pack
from knowledge.admin.pages import open_pack, pack_chosen, pack_context
from knowledge.models import Evaluation, KnowledgePack, SearchLog

SHOWN = 200


class OfPack(ReadOnly, TrashingAdmin):
    """Rows that belong to a pack, under whose tabs they stand when they are of one: ``tab`` names theirs."""

    tab = ""
    list_per_page = 50
    list_before_template = "admin/knowledge/_tabs.html"
    change_form_outer_before_template = "admin/knowledge/_tabs.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        pack = open_pack(request.GET.get("pack__id__exact", ""))
        return cast("HttpResponse", super().changelist_view(request, self._with_tabs(request, pack, extra_context)))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = cast("Any", self.get_object(request, object_id))
        pack = row.pack if row and is_open(row.pack) else None
        extra = self._with_tabs(request, pack, extra_context)
        return cast("HttpResponse", super().change_view(request, object_id, form_url, extra))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        extra = self._with_tabs(request, pack_chosen(request), extra_context)
        return cast("HttpResponse", super().add_view(request, form_url, extra))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().get_changeform_initial_data(request), "pack": pack_chosen(request)}

    def get_list_display(self, request: HttpRequest) -> list[str]:
        return without_pack(request, super().get_list_display(request))

    def _with_tabs(
        self, request: HttpRequest, pack: KnowledgePack | None, extra: dict[str, Any] | None
    ) -> dict[str, Any]:
        return {**(extra or {}), **(pack_context(request, pack, self.tab) if pack else {})}

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "pack__id__exact" or super().lookup_allowed(lookup, value, request)


@admin.register(Evaluation)
class EvaluationAdmin(OfPack):
    tab = "questions"
    list_display = ("created_at", "pack", "mode", "questions", "ndcg", "recall", "rank", "created_by")
    list_filter = ("mode", "created_at")
    list_select_related = ("pack", "created_by")
    search_fields = ("pack__name",)
    ordering = ("-created_at", "-id")
    fields = (
        "pack",
        "mode",
        "questions",
        "ndcg",
        "recall",
        "rank",
        "index_epoch",
        "created_by",
        "created_at",
        "rows_shown",
    )
    readonly_fields = fields

    @admin.display(description="nDCG@10", ordering="ndcg_10")
    def ndcg(self, run: Evaluation) -> str:
        return f"{run.ndcg_10:.3f}"

    @admin.display(description="recall@10", ordering="recall_10")
    def recall(self, run: Evaluation) -> str:
        return f"{run.recall_10:.3f}"

    @admin.display(description="MRR", ordering="mrr")
    def rank(self, run: Evaluation) -> str:
        return f"{run.mrr:.3f}"

    @admin.display(description="questions")
    def rows_shown(self, run: Evaluation) -> SafeString | str:
        rows = [
            (row["question"], f"{row['ndcg']:.3f}", f"{row['recall']:.3f}", f"{row['rr']:.3f}")
            for row in run.results[:SHOWN]
        ]
        return table(("question", "nDCG@10", "recall@10", "RR"), rows)


class NothingFilter(admin.SimpleListFilter):
    title = "results"
    parameter_name = "results"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("none", "Without result"), ("some", "With results")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[SearchLog]) -> QuerySet[SearchLog]:
        if self.value() == "none":
            return queryset.filter(hits=0)
        return queryset.filter(hits__gt=0) if self.value() == "some" else queryset


@admin.register(SearchLog)
class SearchLogAdmin(OfPack):
    tab = "searches"
    list_display = ("query", "pack", "hits", "best", "mode", "path", "took", "origin", "user", "at")
    list_filter = ("origin", "mode", NothingFilter, "at")
    list_select_related = ("pack", "user")
    search_fields = ("query", "pack__name", "user__email")
    ordering = ("-at", "-id")
    fields = ("query", "pack_link", "user", "origin", "mode", "path", "hits", "best", "took", "at")
    readonly_fields = fields

    @admin.display(description="took", ordering="took_ms")
    def took(self, row: SearchLog) -> str:
        return f"{row.took_ms:.1f} ms"

    @admin.display(description="pack")
    def pack_link(self, row: SearchLog) -> SafeString:
        page = reverse("admin:knowledge_knowledgepack_searches", args=[row.pack_id])
        return format_html('<a class="q-link" href="{}">{}</a>', page, row.pack)
