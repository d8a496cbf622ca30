"""Routes of embedding models and of the vectors of a pack."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from accounts.scopes import PACKS
from knowledge import selectors, services, shapes
from knowledge.api.serializers import Text
from knowledge.models import EmbeddingModel, Provider, Role


class EmbeddingModelOut(serializers.Serializer[EmbeddingModel]):
    name = serializers.CharField()
    provider = serializers.ChoiceField(choices=Provider.choices)
    model = serializers.CharField()
    dimension = serializers.IntegerField()
    enabled = serializers.BooleanField()

    def to_representation(self, instance: EmbeddingModel) -> dict[str, Any]:
        return shapes.embedding_model(instance)


class EmbeddingIn(serializers.Serializer[Any]):
    """The body of PATCH: the name of an enabled embedding model, or null for the one that the settings name."""

    model = Text(max_length=60, allow_null=True)


class SpaceOut(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField(allow_null=True, help_text="Of the registered model; null: the settings'")
    model = serializers.CharField()
    dimension = serializers.IntegerField()
    error = serializers.CharField(allow_null=True)


class FutureSpaceOut(SpaceOut):
    done = serializers.IntegerField(help_text="Passages that have a vector")
    total = serializers.IntegerField()
    rate = serializers.FloatField(help_text="Passages in a second")
    started_at = serializers.DateTimeField()


class EmbeddingOut(serializers.Serializer[Any]):
    pack = serializers.UUIDField()
    model = serializers.CharField(allow_null=True, help_text="What the pack has chosen; null: what the settings name")
    present = SpaceOut(allow_null=True)
    future = FutureSpaceOut(allow_null=True)


class EmbeddingModelListView(ApiView):
    """GET /api/embedding-models"""

    scopes = PACKS

    @extend_schema(responses=EmbeddingModelOut(many=True))
    def get(self, request: Request) -> Response:
        return self.paginated(selectors.embedding_models(), EmbeddingModelOut)


class EmbeddingView(ApiView):
    """GET and PATCH /api/knowledge-packs/{id}/embedding"""

    scopes = PACKS

    @extend_schema(responses=EmbeddingOut)
    def get(self, request: Request, pk: str) -> Response:
        return Response(shapes.pack_embedding(selectors.pack_for(self.user, pk)))

    @extend_schema(
        request=EmbeddingIn,
        responses={202: EmbeddingOut},
        description="Makes vectors of the chosen model in the background. Searches use the old ones until the new are complete.",
    )
    def patch(self, request: Request, pk: str) -> Response:
        found = selectors.pack_for(self.user, pk, Role.EDITOR)
        pack = services.choose_embedding(found.pk, self.validated(EmbeddingIn)["model"])
        return Response(shapes.pack_embedding(pack), status=202)


class MigrationView(ApiView):
    """DELETE /api/knowledge-packs/{id}/embedding/migration"""

    scopes = PACKS

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: str) -> Response:
        services.cancel_migration(selectors.pack_for(self.user, pk, Role.EDITOR).pk)
        return Response(status=204)
