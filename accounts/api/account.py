"""Leaving: one's data as a file, and the end of one's account. For people alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import departures, exports, holdings, proving
from accounts.api.authentication import session_of
from accounts.api.files import download
from accounts.api.urls import route
from accounts.api.views import ApiView
from accounts.models import AccountExport, User
from accounts.scopes import PEOPLE
from accounts.sign_in_guard import PROOF_HEADER
from realtime.errors import NotFound

Json = dict[str, Any]


class ExportOut(serializers.ModelSerializer[AccountExport]):
    file = serializers.SerializerMethodField(help_text="Where it is to be had once it is ready; else null.")

    class Meta:
        model = AccountExport
        fields = ("id", "status", "error", "size", "created_at", "finished_at", "expires_at", "file")

    def get_file(self, job: AccountExport) -> str | None:
        ready = job.status == AccountExport.Status.READY
        return reverse("me-export-file", kwargs={"export_id": job.pk}) if ready else None


class SharedOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    people = serializers.IntegerField(help_text="With whom it is shared.")
    public = serializers.BooleanField()


class LeavingOut(serializers.Serializer[Any]):
    due_at = serializers.DateTimeField(
        allow_null=True, help_text="Until then signing in again, or staff, call it off; null when nothing was asked."
    )
    goes = serializers.DictField(child=serializers.IntegerField(), help_text="How many packs and councils are deleted.")
    shared = SharedOut(
        many=True, help_text="Packs that others use and that go with the account, unless they are transferred before."
    )


class LeaveIn(serializers.Serializer[Any]):
    password = serializers.CharField(
        required=False,
        max_length=4096,
        trim_whitespace=False,
        help_text="Not needed within five minutes of signing in.",
    )


class ExportsView(ApiView):
    """GET and POST /api/me/export"""

    scopes = PEOPLE

    @extend_schema(
        operation_id="me_export_latest",
        responses=ExportOut,
        description="The newest one; 404 when there is none. Not for API keys.",
        extensions={"x-errors": ["404"]},
    )
    def get(self, request: Request) -> Response:
        newest = exports.of(self.user).order_by("-created_at", "-id").first()
        if newest is None:
            raise NotFound("There is no export. A POST asks for one.")
        return Response(ExportOut(newest).data)

    @extend_schema(
        operation_id="me_export_create",
        request=None,
        responses={202: ExportOut},
        description="Everything that is yours as a zip, made in the background: profile, logins, keys without their secrets, packs, "
        "councils, usage, and what the audit log says of you. While one is being made it is that one. The file is there for "
        "`ACCOUNT_EXPORT_HOURS` (24) and replaces the one before. Not for API keys.",
    )
    def post(self, request: Request) -> Response:
        job = exports.request(self.user)
        where = reverse("me-export-one", kwargs={"export_id": job.pk})
        return Response(ExportOut(job).data, status=202, headers={"Location": where})


class ExportView(ApiView):
    """GET /api/me/export/{id}"""

    scopes = PEOPLE

    @extend_schema(operation_id="me_export", responses=ExportOut, description="How far it is. Not for API keys.")
    def get(self, request: Request, export_id: UUID) -> Response:
        return Response(ExportOut(exports.export_of(self.user, export_id)).data)


class ExportFileView(ApiView):
    """GET /api/me/export/{id}/file"""

    scopes = PEOPLE

    @extend_schema(
        operation_id="me_export_file",
        responses={(200, "application/zip"): OpenApiTypes.BINARY},
        description="The file, to be saved; 404 `export_not_ready` until it is made. Not for API keys.",
    )
    def get(self, request: Request, export_id: UUID) -> StreamingHttpResponse:
        job, pieces = exports.opened(self.user, export_id)
        name = f"quorum-account-{job.created_at:%Y-%m-%d}.zip"
        response = download(request._request, pieces, "application/zip", name)
        response.headers["Content-Length"] = str(job.size)
        response.headers["Cache-Control"] = "private, no-store"
        return response


class DeletionView(ApiView):
    """GET /api/me/deletion"""

    scopes = PEOPLE

    @extend_schema(
        operation_id="me_deletion",
        responses=LeavingOut,
        description="What would go with the account if it were deleted. Not for API keys.",
    )
    def get(self, request: Request) -> Response:
        return Response(_leaving(self.user))


def leave(view: ApiView, request: Request) -> Response:
    """DELETE /api/me. Raises ``NotProved``, ``LastSuperuser``, and what guessing at a password does (``sign_in_guard``)."""
    password = view.validated(LeaveIn, request.data or {}).get("password")
    session, proof = session_of(request), request.headers.get(PROOF_HEADER, "")
    proving.require(request._request, view.user, session, password, proof)
    lost = _leaving(view.user)
    departure = departures.ask(view.user)
    return Response({**lost, "due_at": departure.due_at}, status=202)


def _leaving(user: User) -> Json:
    every = holdings.every()
    lost = {
        "due_at": None,
        "goes": {name: count for one in every for name, count in one.counts(user).items()},
        "shared": [asdict(thing) for one in every for thing in one.shared(user)],
    }
    return dict(LeavingOut(lost).data)


urlpatterns = [
    *route("me/export", ExportsView, "me-export"),
    *route("me/export/<uuid:export_id>", ExportView, "me-export-one"),
    *route("me/export/<uuid:export_id>/file", ExportFileView, "me-export-file"),
    *route("me/deletion", DeletionView, "me-deletion"),
]
