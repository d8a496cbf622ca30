"""A council as a file, the schema of its record, and its claims."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView
from accounts.scopes import COUNCILS
from council import selectors
from council.claims_table import claims_of
from council.export import MEDIA_TYPES, export, html
from council.export.schema import schema
from realtime.errors import InvalidInput


class ClaimsOut(serializers.Serializer[Any]):
    run = serializers.IntegerField(allow_null=True)
    claims = serializers.ListField(
        child=serializers.JSONField(), help_text="{id, text, asserted_by, disputed_by, opposed_by}; docs/evidence.md"
    )


class ExportQuery(serializers.Serializer[Any]):
    format = serializers.ChoiceField(choices=list(MEDIA_TYPES), default="json")
    prompts = serializers.BooleanField(default=False, help_text="json only: also every call of a model")


class ClaimsQuery(serializers.Serializer[Any]):
    run = serializers.IntegerField(min_value=1, max_value=32767, required=False)


class ClaimsView(ApiView):
    """GET /api/council-sessions/{id}/claims"""

    scopes = COUNCILS

    @extend_schema(responses=ClaimsOut, parameters=[ClaimsQuery])
    def get(self, request: Request, pk: UUID) -> Response:
        session = selectors.session_for(self.user, pk)
        query = self.validated(ClaimsQuery, request.query_params.dict())
        return Response(claims_of(session, query.get("run")))


class ExportView(ApiView):
    """GET /api/council-sessions/{id}/export"""

    scopes = COUNCILS

    @extend_schema(
        parameters=[ExportQuery],
        responses={
            (200, media.partition(";")[0]): OpenApiTypes.OBJECT if form == "json" else OpenApiTypes.STR
            for form, media in MEDIA_TYPES.items()
        },
    )
    def get(self, request: Request, pk: UUID) -> HttpResponse:
        session = selectors.session_for(self.user, pk)
        query = self.validated(ExportQuery, request.query_params.dict())
        if query["prompts"] and query["format"] != "json":
            raise InvalidInput("Prompts stand in the JSON record alone.", code="bad_prompts")
        written = export(session, query["format"], prompts=query["prompts"])
        shown = "inline" if query["format"] == "html" else "attachment"  # to be printed
        headers = {
            "Content-Disposition": f'{shown}; filename="{written.filename}"',
            "X-Content-Type-Options": "nosniff",
            # A header says more than the file can: sandboxed, it has no origin of ours, and nobody may frame it.
            "Content-Security-Policy": f"{html.policy()}; frame-ancestors 'none'; sandbox allow-modals",
        }
        return HttpResponse(written.content, content_type=written.media_type, headers=headers)


class ExportSchemaView(ApiView):
    """GET /api/council-sessions/export-schema"""

    scopes = COUNCILS

    @extend_schema(responses={(200, "application/schema+json"): OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        return Response(schema(), content_type="application/schema+json")
