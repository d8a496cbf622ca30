"""The project's routes and the stream of packs, wherever the API mounts it."""

from django.urls import path

from accounts import keys
from config.urls import urlpatterns as project
from knowledge.consumers import KnowledgePacks
from realtime.sse import stream_view

urlpatterns = [
    path("live/knowledge-packs/<uuid:pk>", stream_view(KnowledgePacks(), keys=keys)),
    *project,
]
