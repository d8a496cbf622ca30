"""Paths of the knowledge API, relative to ``/api/``."""

from __future__ import annotations

from accounts.api.urls import route
from accounts.services import user_for_key
from knowledge.api import entries, packs, search
from knowledge.consumers import KnowledgePacks
from realtime.sse import stream_view

stream = stream_view(KnowledgePacks(), user_for_key=user_for_key)

# Ids are checked by the selectors: what is no UUID is nobody's object, 404 like any other.
urlpatterns = [
    *route("knowledge-packs", packs.PackListView, "knowledge-packs"),
    *route("knowledge-packs/search", search.SeveralPacksView, "knowledge-search-several"),
    *route("knowledge-packs/<str:pk>", packs.PackView, "knowledge-pack"),
    *route("knowledge-packs/<str:pk>/entries", entries.EntryListView, "knowledge-entries"),
    *route("knowledge-packs/<str:pk>/events", packs.EventsView, "knowledge-events"),
    *route("knowledge-packs/<uuid:pk>/stream", stream, "knowledge-stream"),
    *route("knowledge-packs/<str:pk>/entries/search", search.SearchView, "knowledge-search"),
]
