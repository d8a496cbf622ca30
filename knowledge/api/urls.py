"""Paths of the knowledge API, relative to ``/api/``."""

from __future__ import annotations

from accounts.api.urls import route
from knowledge.api import views

# Ids are checked by the selectors: what is no UUID is nobody's object, 404 like any other.
urlpatterns = [
    *route("knowledge-packs", views.PackListView, "knowledge-packs"),
    *route("knowledge-packs/<str:pk>", views.PackView, "knowledge-pack"),
    *route("knowledge-packs/<str:pk>/entries", views.EntryListView, "knowledge-entries"),
    *route("knowledge-packs/<str:pk>/entries/search", views.SearchView, "knowledge-search"),
]
