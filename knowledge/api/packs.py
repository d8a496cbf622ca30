"""Routes of packs."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.events import EventLogView
from accounts.api.views import ApiView
from accounts.scopes import PACKS
from knowledge import selectors, services
from knowledge.api import serializers as s
from knowledge.api.params import BOOLEANS, choice
from knowledge.models import KnowledgePack, Role
from knowledge.stats import pack_stats
from realtime.errors import NotFound

_OWNERS = frozenset(
    {"visibility", "gate_publishing"}
)  # who may read, and what may be published, is no editor's business


class PackListView(ApiView):
    """POST and GET /api/knowledge-packs"""

    scopes = PACKS
    filter_names = frozenset({"status", "scope", "trash"})

    @extend_schema(request=s.PackIn, responses={201: s.PackOut})
    def post(self, request: Request) -> Response:
        pack = services.create_pack(self.user, **self.validated(s.PackIn))
        return self.single(s.PackOut(pack).data, pack.version, status=201)

    @extend_schema(
        responses=s.PackOut(many=True),
        parameters=[
            OpenApiParameter("status", enum=s.OPEN_STATUSES),
            OpenApiParameter(
                "scope", enum=selectors.SCOPES, description="By default one's own and those shared with one"
            ),
            OpenApiParameter("trash", OpenApiTypes.BOOL, description="One's own packs in the trash instead"),
        ],
    )
    def get(self, request: Request) -> Response:
        scope = choice(request, "scope", selectors.SCOPES)
        trash = BOOLEANS[choice(request, "trash", list(BOOLEANS)) or "false"]
        packs = selectors.trashed_packs(self.user) if trash else selectors.packs_in_scope(self.user, scope)
        if status := choice(request, "status", s.OPEN_STATUSES):
            packs = packs.filter(status=status)
        return self.paginated(packs, s.PackOut)


class PackView(ApiView):
    """GET, PATCH and DELETE /api/knowledge-packs/{id}"""

    scopes = PACKS

    @extend_schema(responses=s.PackOut)
    def get(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk)
        return self.single(s.PackOut(pack).data, pack.version)

    @extend_schema(request=s.PackPatch, responses=s.PackOut)
    def patch(self, request: Request, pk: str) -> Response:
        found = selectors.pack_for(self.user, pk, Role.EDITOR)
        changes = self.validated(s.PackPatch, partial=True)
        if _OWNERS & changes.keys():
            selectors.pack_for(self.user, pk, Role.OWNER)
        pack = services.update_pack(found.pk, changes, precondition=self.check_if_match)
        return self.single(s.PackOut(selectors.for_same_person(pack, found)).data, pack.version)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.OWNER)
        services.delete_pack(pack.pk, precondition=self.check_if_match)
        return Response(status=204)


class RestoreView(ApiView):
    """POST /api/knowledge-packs/{id}/restore"""

    scopes = PACKS

    @extend_schema(request=None, responses=s.PackOut, description="Takes one's own pack out of the trash.")
    def post(self, request: Request, pk: str) -> Response:
        found = selectors.trashed_packs(self.user).filter(pk=selectors.uuid_or_not_found(pk)).first()
        if found is None:
            raise NotFound("There is no such pack in the trash.")
        pack = services.restore_pack(found.pk)
        return self.single(s.PackOut(pack).data, pack.version)


class StatsView(ApiView):
    """GET /api/knowledge-packs/{id}/stats"""

    scopes = PACKS

    @extend_schema(responses=s.StatsOut)
    def get(self, request: Request, pk: str) -> Response:
        return Response(pack_stats(selectors.pack_for(self.user, pk)))


class EventsView(EventLogView):
    """GET /api/knowledge-packs/{id}/events"""

    scopes = PACKS

    def stream(self, pk: str) -> KnowledgePack:
        return selectors.pack_for(self.user, pk)
