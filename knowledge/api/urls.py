"""Paths of the knowledge API, relative to ``/api/``."""

from __future__ import annotations

from accounts import keys
from accounts.api.counting import wait_for_stream
from accounts.api.urls import route
from knowledge.api import bulk, entries, exports, imports, packs, quality, revisions, search, sharing, snapshots, spaces
from knowledge.consumers import KnowledgePacks
from realtime.sse import stream_view

stream = stream_view(KnowledgePacks(), keys=keys, wait=wait_for_stream)

# Ids are checked by the selectors: what is no UUID is nobody's object, 404 like any other.
urlpatterns = [
    *route("knowledge-packs", packs.PackListView, "knowledge-packs"),
    *route("knowledge-packs/search", search.SeveralPacksView, "knowledge-search-several"),
    *route("knowledge-packs/<str:pk>", packs.PackView, "knowledge-pack"),
    *route("knowledge-packs/<str:pk>/entries", entries.EntryListView, "knowledge-entries"),
    *route("knowledge-packs/<str:pk>/events", packs.EventsView, "knowledge-events"),
    *route("knowledge-packs/<uuid:pk>/stream", stream, "knowledge-stream"),
    *route("embedding-models", spaces.EmbeddingModelListView, "embedding-models"),
    *route("knowledge-packs/<str:pk>/embedding", spaces.EmbeddingView, "knowledge-embedding"),
    *route("knowledge-packs/<str:pk>/embedding/migration", spaces.MigrationView, "knowledge-embedding-migration"),
    *route("knowledge-packs/<str:pk>/restore", packs.RestoreView, "knowledge-restore"),
    *route("knowledge-packs/<str:pk>/stats", packs.StatsView, "knowledge-stats"),
    *route("knowledge-packs/<str:pk>/shares", sharing.ShareListView, "knowledge-shares"),
    *route("knowledge-packs/<str:pk>/shares/<str:share>", sharing.ShareView, "knowledge-share"),
    *route("knowledge-packs/<str:pk>/transfer", sharing.TransferView, "knowledge-transfer"),
    *route("knowledge-packs/<str:pk>/snapshots", snapshots.SnapshotListView, "knowledge-snapshots"),
    *route("knowledge-packs/<str:pk>/snapshots/<str:snapshot>", snapshots.SnapshotView, "knowledge-snapshot"),
    *route("knowledge-packs/<str:pk>/fork", snapshots.ForkView, "knowledge-fork"),
    *route("knowledge-packs/<str:pk>/entries/search", search.SearchView, "knowledge-search"),
    *route("knowledge-packs/<str:pk>/entries/bulk", bulk.BulkView, "knowledge-entries-bulk"),
    *route("knowledge-packs/<str:pk>/entries/reorder", bulk.ReorderView, "knowledge-entries-reorder"),
    *route("knowledge-packs/<str:pk>/entries/<str:entry>", entries.EntryView, "knowledge-entry"),
    *route("knowledge-packs/<str:pk>/entries/<str:entry>/restore", entries.RestoreView, "knowledge-entry-restore"),
    *route("knowledge-packs/<str:pk>/entries/<str:entry>/retry", entries.RetryView, "knowledge-entry-retry"),
    *revisions.urlpatterns,
    *route("knowledge-packs/<str:pk>/golden-questions", quality.GoldenQuestionListView, "golden-questions"),
    *route("knowledge-packs/<str:pk>/golden-questions/<str:question>", quality.GoldenQuestionView, "golden-question"),
    *route("knowledge-packs/<str:pk>/evaluations", quality.EvaluationListView, "evaluations"),
    *route("knowledge-packs/<str:pk>/evaluations/<str:evaluation>", quality.EvaluationView, "evaluation"),
    *route("knowledge-packs/<str:pk>/searches", quality.SearchesView, "knowledge-searches"),
    *route("knowledge-packs/<str:pk>/searches/summary", quality.SearchesSummaryView, "knowledge-searches-summary"),
    *route("knowledge-packs/<str:pk>/review-queue", quality.ReviewQueueView, "review-queue"),
    *route("knowledge-packs/<str:pk>/export", exports.ExportView, "knowledge-export"),
    *route("knowledge-packs/<str:pk>/imports", imports.ImportListView, "knowledge-imports"),
    *route("knowledge-packs/<str:pk>/imports/<str:import_id>", imports.ImportView, "knowledge-import"),
    *route("knowledge-packs/<str:pk>/imports/<str:import_id>/items", imports.ImportItemsView, "knowledge-import-items"),
    *route(
        "knowledge-packs/<str:pk>/imports/<str:import_id>/commit", imports.ImportCommitView, "knowledge-import-commit"
    ),
    *route(
        "knowledge-packs/<str:pk>/imports/<str:import_id>/cancel", imports.ImportCancelView, "knowledge-import-cancel"
    ),
]
