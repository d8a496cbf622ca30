"""Routes of snapshots, and of copies."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from accounts.scopes import PACKS
from knowledge import selectors, services
from knowledge.api.serializers import PackOut, Text
from knowledge.models import TITLE_MAX, Role, Snapshot
from knowledge.shapes import snapshot_header


class SnapshotIn(serializers.Serializer[Any]):
    label = Text(max_length=60)  # type: ignore[assignment]  # a field; DRF's own attribute of that name is not used
    note = Text(max_length=300, required=False, allow_blank=True)


class SnapshotHeader(serializers.Serializer[Snapshot]):
    id = serializers.UUIDField()
    pack = serializers.UUIDField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field; DRF's attribute of that name is not used
    note = serializers.CharField()
    entry_count = serializers.IntegerField()
    passage_count = serializers.IntegerField()
    content_hash = serializers.CharField(help_text="SHA-256 of the revisions' hashes in order, a line each")
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: Snapshot) -> dict[str, Any]:
        return snapshot_header(instance)


class SnapshotEntryOut(serializers.Serializer[Any]):
    id = serializers.UUIDField(allow_null=True, help_text="null when the entry itself was purged")
    revision_id = serializers.UUIDField()
    revision = serializers.IntegerField()
    title = serializers.CharField()
    content_hash = serializers.CharField()


class SnapshotOut(SnapshotHeader):
    entries = SnapshotEntryOut(many=True)

    def to_representation(self, instance: Snapshot) -> dict[str, Any]:
        columns = ("entry", "revision", "revision__number", "revision__title", "revision__content_hash")
        names = ("id", "revision_id", "revision", "title", "content_hash")
        rows = instance.entries.order_by("ordinal").values_list(*columns)
        return {**snapshot_header(instance), "entries": [dict(zip(names, row, strict=True)) for row in rows]}


class ForkIn(serializers.Serializer[Any]):
    name = Text(max_length=TITLE_MAX)
    snapshot = Text(max_length=60, required=False, help_text="Id or label of the snapshot to copy")


class SnapshotListView(ApiView):
    """GET and POST /api/knowledge-packs/{id}/snapshots"""

    scopes = PACKS

    @extend_schema(responses=SnapshotHeader(many=True))
    def get(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk)
        return self.paginated(Snapshot.objects.filter(pack=pack), SnapshotHeader)

    @extend_schema(
        request=SnapshotIn,
        responses={201: SnapshotHeader},
        description="Publishes the pack: keeps what its enabled entries say now under a label. All of them must be indexed.",
    )
    def post(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.EDITOR)
        snapshot = services.publish(pack.pk, self.user, **self.validated(SnapshotIn))
        return Response(snapshot_header(snapshot), status=201)


class SnapshotView(ApiView):
    """GET and DELETE /api/knowledge-packs/{id}/snapshots/{snapshot}"""

    scopes = PACKS

    @extend_schema(responses=SnapshotOut)
    def get(self, request: Request, pk: str, snapshot: str) -> Response:
        found = selectors.snapshot_for(selectors.pack_for(self.user, pk), snapshot)
        return Response(SnapshotOut(found).data)

    @extend_schema(responses={204: None}, description="Refused (409) while a council pins the snapshot.")
    def delete(self, request: Request, pk: str, snapshot: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.OWNER)
        services.delete_snapshot(pack.pk, selectors.snapshot_for(pack, snapshot).pk)
        return Response(status=204)


class ForkView(ApiView):
    """POST /api/knowledge-packs/{id}/fork"""

    scopes = PACKS

    @extend_schema(
        request=ForkIn, responses={201: PackOut}, description="A copy of the pack that belongs to the caller."
    )
    def post(self, request: Request, pk: str) -> Response:
        source = selectors.pack_for(self.user, pk)
        body = self.validated(ForkIn)
        snapshot = selectors.snapshot_named(source, body["snapshot"]) if "snapshot" in body else None
        pack = services.fork(source.pk, self.user, body["name"], snapshot)
        return self.single(PackOut(pack).data, pack.version, status=201)
