"""What is only read here: imports, published states, evaluations and the search log."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from knowledge.admin.common import STATUS_COLOURS, ReadOnly, table
from knowledge.models import Evaluation, Import, SearchLog, Snapshot

SHOWN = 200


class OfPack(ReadOnly, ModelAdmin):
    """Rows that belong to a pack, which its pages link to."""

    list_per_page = 50

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return lookup == "pack__id__exact" or super().lookup_allowed(lookup, value, request)


@admin.register(Import)
class ImportAdmin(OfPack):
    list_display = ("__str__", "pack", "state", "dry_run", "size", "created_by", "created_at", "finished_at")
    list_filter = ("status", "dry_run", "created_at")
    list_select_related = ("pack", "created_by")
    search_fields = ("filename", "pack__name")
    ordering = ("-created_at", "-id")
    fields = (
        "pack", "state", "filename", "media_type", "size", "urls", "options", "dry_run", "on_duplicate", "error", "attempt",
        "created_by", "created_at", "finished_at", "items_shown",
    )  # fmt: skip
    readonly_fields = fields

    @display(description="status", label=STATUS_COLOURS, ordering="status")
    def state(self, job: Import) -> str:
        return job.status

    @admin.display(description="items")
    def items_shown(self, job: Import) -> SafeString | str:
        items = job.items.select_related("entry").order_by("ordinal")[:SHOWN]
        head = ("", "source", "status", "planned", "entry", "error")
        rows = [
            (one.ordinal, one.source, one.status, one.planned or "–", one.entry or "–", one.error or "–")
            for one in items
        ]
        return table(head, rows)


@admin.register(Snapshot)
class SnapshotAdmin(OfPack):
    list_display = ("label", "pack", "entry_count", "passage_count", "note", "created_by", "created_at")
    list_filter = ("created_at",)
    list_select_related = ("pack", "created_by")
    search_fields = ("label", "pack__name", "note")
    ordering = ("-created_at", "-id")
    fields = (
        "pack", "label", "note", "entry_count", "passage_count", "content_hash", "created_by", "created_at", "entries_shown",
    )  # fmt: skip
    readonly_fields = fields

    @admin.display(description="revisions")
    def entries_shown(self, snapshot: Snapshot) -> SafeString | str:
        rows = snapshot.entries.select_related("revision").order_by("ordinal")[:SHOWN]
        said = [(row.revision.title, row.revision.number, row.revision.content_hash[:12]) for row in rows]
        return table(("title", "revision", "hash"), said)


@admin.register(Evaluation)
class EvaluationAdmin(OfPack):
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
