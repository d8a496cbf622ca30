"""Routes of sharing."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from accounts.scopes import PACKS
from knowledge import selectors, services
from knowledge.api.serializers import Choice, PackOut
from knowledge.models import PackShare, Role
from knowledge.shapes import share_json
from realtime.errors import Forbidden, NotFound

ROLES = [(role.value, role.label) for role in (Role.VIEWER, Role.EDITOR)]


class EmailIn(serializers.Serializer[Any]):
    email = serializers.EmailField(max_length=254)


class ShareIn(EmailIn):
    role = Choice(choices=ROLES)


class SharePatch(serializers.Serializer[Any]):
    role = Choice(choices=ROLES)


class SharedWith(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField(allow_null=True)
    email = serializers.EmailField()


class ShareOut(serializers.Serializer[PackShare]):
    id = serializers.UUIDField()
    user = SharedWith()
    role = serializers.ChoiceField(choices=ROLES)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: PackShare) -> dict[str, Any]:
        return share_json(instance)


class ShareListView(ApiView):
    """GET and POST /api/knowledge-packs/{id}/shares"""

    scopes = PACKS

    @extend_schema(
        responses=ShareOut(many=True), description="All shares for the owner; for everybody else their own alone."
    )
    def get(self, request: Request, pk: str) -> Response:
        return self.paginated(selectors.shares_of(self.user, selectors.pack_for(self.user, pk)), ShareOut)

    @extend_schema(
        request=ShareIn,
        responses={200: ShareOut, 201: ShareOut},
        description="Sharing with somebody once more changes their role (200).",
    )
    def post(self, request: Request, pk: str) -> Response:
        pack = selectors.pack_for(self.user, pk, Role.OWNER)
        share, new = services.share(pack.pk, self.user, **self.validated(ShareIn))
        return Response(share_json(share), status=201 if new else 200)


class ShareView(ApiView):
    """PATCH and DELETE /api/knowledge-packs/{id}/shares/{share}"""

    scopes = PACKS

    @extend_schema(request=SharePatch, responses=ShareOut)
    def patch(self, request: Request, pk: str, share: str) -> Response:
        found = self._share(pk, share)
        if selectors.role_in(found.pack) != Role.OWNER:
            raise Forbidden("Only the owner of a pack gives roles in it.", code="role_too_low")
        return Response(share_json(services.change_role(found.pack_id, found.pk, **self.validated(SharePatch))))

    @extend_schema(responses={204: None}, description="The owner takes a share back; anybody may give up their own.")
    def delete(self, request: Request, pk: str, share: str) -> Response:
        found = self._share(pk, share)
        services.unshare(found.pack_id, found.pk)
        return Response(status=204)

    def _share(self, pk: str, share: str) -> PackShare:
        pack = selectors.pack_for(self.user, pk)
        found = selectors.shares_of(self.user, pack).filter(pk=selectors.uuid_or_not_found(share)).first()
        if found is None:
            raise NotFound("There is no such share.")
        found.pack = pack
        return found


class TransferView(ApiView):
    """POST /api/knowledge-packs/{id}/transfer"""

    scopes = PACKS

    @extend_schema(
        request=EmailIn,
        responses=PackOut,
        description="Gives the pack to another person; the caller stays as an editor.",
    )
    def post(self, request: Request, pk: str) -> Response:
        found = selectors.pack_for(self.user, pk, Role.OWNER)
        services.transfer(found.pk, **self.validated(EmailIn))
        pack = selectors.pack_for(self.user, pk)
        return self.single(PackOut(pack).data, pack.version)
